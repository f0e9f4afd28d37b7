"""The units in which an autoencoder is trained, and which its saved weights take over. T tokens, D model width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.saes.affine import Affine

Normalisation = Literal["centre", "scale", "none"]
"""centre: subtract the mean, then scale; scale: only that; none: activations as they are."""


def fit(sample_TD: Tensor, how: Normalisation, widths: Sequence[int] | None = None) -> Affine:
    """The change of units after which ‖z‖² is D in the mean over the sample.

    One learning rate and one sparsity coefficient then mean the same at every layer of every model. Centring takes away
    the offset that activations share, which otherwise leaves most latents dead.

    Args:
        widths: of the hook points that stand side by side in D, each scaled for itself. None: one.

    Raises:
        InputError: activations are not finite, or all the same.
    """
    widths = list(widths or [sample_TD.shape[1]])
    centre_D = torch.zeros(sample_TD.shape[1], dtype=torch.float64)
    if how == "centre":
        centre_D = _mean(sample_TD, lambda part_TD: part_TD)
    squares_D = _mean(sample_TD, lambda part_TD: (part_TD - centre_D).square())
    squares = [float(part_D.mean()) for part_D in torch.split(squares_D, widths)]
    if not all(0 < square < float("inf") for square in squares):
        raise InputError("the activations are all the same or not finite; harvest them again")
    scales = [1.0 if how == "none" else square**-0.5 for square in squares]
    scale_D = torch.repeat_interleave(torch.tensor(scales), torch.tensor(widths))
    return Affine(centre_D.float(), scale_D)


def _mean(sample_TD: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over tokens in float64, some at a time: a copy of the whole sample would be the peak of a run."""
    total_D = torch.zeros(sample_TD.shape[1], dtype=torch.float64)
    for start in range(0, len(sample_TD), 1024):
        total_D += of(sample_TD[start : start + 1024].double()).sum(0)
    return total_D / len(sample_TD)
