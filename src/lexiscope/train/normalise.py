"""The units in which an autoencoder is trained, and which its saved weights take over. T tokens, D model width."""

from __future__ import annotations

from collections.abc import Sequence
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
    sample_TD = sample_TD.double()
    centre_D = sample_TD.mean(0) if how == "centre" else torch.zeros(sample_TD.shape[1], dtype=torch.float64)
    parts = torch.split(sample_TD - centre_D, list(widths or [sample_TD.shape[1]]), dim=1)
    squares = [float(part.square().mean()) for part in parts]
    if not all(0 < square < float("inf") for square in squares):
        raise InputError("the activations are all the same or not finite; harvest them again")
    scales = [1.0 if how == "none" else square**-0.5 for square in squares]
    scale_D = torch.cat([torch.full((part.shape[1],), scale) for part, scale in zip(parts, scales, strict=True)])
    return Affine(centre_D.float(), scale_D)
