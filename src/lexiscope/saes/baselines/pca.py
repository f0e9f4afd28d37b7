"""PCA: the principal directions of the activations, each split into a positive and a negative part.

    z = V (x - μ),   f = the k largest of |z|, as [ReLU(z), ReLU(-z)],   x̂ = μ + Vᵀ (f[:D] - f[D:])

The best linear code there is, at the same L0 as an autoencoder with the same ``k``. T tokens, D model width, F = 2 D
latents; row i of V is the direction of i-th largest variance.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch, SaeConfig, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.parts import mean_square_error, signed_codes


class Config(SaeConfig):
    architecture: Literal["pca"] = "pca"
    k: int | None = Field(32, ge=1)
    """Directions kept per token, the largest. None: all."""

    def latents(self, width: int) -> int:
        return 2 * width


class Pca(SparseAutoencoder):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    mean_D: Tensor
    axes_DD: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("mean_D", torch.zeros(width))
        self.register_buffer("axes_DD", torch.zeros(width, width))

    @classmethod
    def from_sample(cls, config: Config, sample: Batch, *, seed: int = 0) -> Self:  # noqa: ARG003
        sample_TD = sample.input_TD
        sae = cls(config, sample_TD.shape[1])
        sample_TD = sample_TD.double()
        mean_D = sample_TD.mean(0)
        centred_TD = sample_TD - mean_D
        sae.mean_D.copy_(mean_D)
        sae.axes_DD.copy_(torch.linalg.eigh(centred_TD.T @ centred_TD).eigenvectors.T.flip(0))
        return sae

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return signed_codes((x_TD - self.mean_D) @ self.axes_DD.T, self.config.k)

    def decode(self, codes: SparseCodes) -> Tensor:
        return decode_rows(codes, self.directions_FD) + self.mean_D

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        return {"reconstruction": mean_square_error(output_TD, batch.target_TD)}

    def absorb(self, source: Affine, target: Affine) -> None:
        self.mean_D.div_(source.scale).add_(target.centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return torch.cat([self.axes_DD, -self.axes_DD])
