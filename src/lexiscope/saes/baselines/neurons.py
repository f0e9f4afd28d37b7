"""Neurons: the coordinates that the model itself has, each split into a positive and a negative part.

    f = [ReLU(x - μ), ReLU(μ - x)],   x̂ = μ + f[:D] - f[D:]

Without ``k`` nothing is lost: FVU 0 at L0 = D. T tokens, D model width, F = 2 D latents.
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
    architecture: Literal["neurons"] = "neurons"
    k: int | None = Field(None, ge=1)
    """Coordinates kept per token, the largest. None: all."""

    def latents(self, width: int) -> int:
        return 2 * width


class Neurons(SparseAutoencoder):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    mean_D: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("mean_D", torch.zeros(width))

    @classmethod
    def from_sample(cls, config: Config, sample: Batch, *, seed: int = 0) -> Self:  # noqa: ARG003
        sample_TD = sample.input_TD
        sae = cls(config, sample_TD.shape[1])
        sae.mean_D.copy_(sample_TD.mean(0))
        return sae

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return signed_codes(x_TD - self.mean_D, self.config.k)

    def decode(self, codes: SparseCodes) -> Tensor:
        return decode_rows(codes, self.directions_FD) + self.mean_D

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        return {"reconstruction": mean_square_error(output_TD, batch.target_TD)}

    def absorb(self, source: Affine, target: Affine) -> None:
        self.mean_D.div_(source.scale).add_(target.centre_D)

    @property
    def directions_FD(self) -> Tensor:
        axes_DD = torch.eye(self.width, dtype=self.mean_D.dtype, device=self.mean_D.device)
        return torch.cat([axes_DD, -axes_DD])
