"""PCA: the principal directions of the activations, each split into a positive and a negative part.

    z = V (x - μ),   f = the k largest of |z|, as [ReLU(z), ReLU(-z)],   x̂ = μ + Vᵀ (f[:D] - f[D:])

The best linear code there is, at the same L0 as an autoencoder with the same ``k``. T tokens, D model width, F = 2 D
latents; row i of V is the direction of i-th largest variance.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.baselines.fixed import Fixed
from lexiscope.saes.parts import signed_codes
from lexiscope.saes.settings import SaeConfig


class Config(SaeConfig):
    architecture: Literal["pca"] = "pca"
    k: int | None = Field(32, ge=1)
    """Directions kept per token, the largest. None: all."""

    def latents(self, width: int) -> int:
        return 2 * width


class Pca(Fixed):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    axes_DD: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("axes_DD", torch.zeros(width, width))

    def fit(self, x_TD: Tensor, seed: int) -> None:  # noqa: ARG002
        centred_TD = self.centre(x_TD)
        self.axes_DD.copy_(torch.linalg.eigh(centred_TD.T @ centred_TD).eigenvectors.T.flip(0))

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return signed_codes((x_TD - self.mean_D) @ self.axes_DD.T, self.config.k)

    @property
    def directions_FD(self) -> Tensor:
        return torch.cat([self.axes_DD, -self.axes_DD])
