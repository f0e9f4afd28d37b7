"""Normaliser: the units in which an autoencoder is trained, and which its saved weights take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lexiscope.core.errors import InputError


@dataclass(frozen=True)
class Normaliser:
    """z = (x - centre) · scale, with the mean of ‖z‖² equal to D on the sample it was fitted to.

    One learning rate and one sparsity coefficient then mean the same at every layer of every model. Centring takes away
    the offset that activations share, which otherwise leaves most latents dead.
    """

    centre_D: Tensor
    scale: float

    @classmethod
    def fit(cls, sample_TD: Tensor, *, centre: bool) -> Self:
        """From activations.

        Raises:
            InputError: they are not finite, or all the same.
        """
        sample_TD = sample_TD.double()
        centre_D = sample_TD.mean(0) if centre else torch.zeros(sample_TD.shape[1], dtype=torch.float64)
        mean_square = float((sample_TD - centre_D).square().mean())
        if not 0 < mean_square < float("inf"):
            raise InputError("the activations are all the same or not finite; harvest them again")
        return cls(centre_D.float(), mean_square**-0.5)

    def __call__(self, x_TD: Tensor) -> Tensor:
        return (x_TD - self.centre_D).mul_(self.scale)
