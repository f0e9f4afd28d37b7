"""Linear map: what least squares makes of x, without any latent. The floor under a transcoder, and all of its skip.

    ŷ = ȳ + M (x - x̄),   M = C_yx (C_xx + ridge · mean variance of x)⁻¹ on a sample

T tokens, D width of x, E width of y.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.parts import mean_square_error
from lexiscope.saes.settings import SaeConfig


class Config(SaeConfig):
    architecture: Literal["linear_map"] = "linear_map"
    ridge: float = Field(1e-4, ge=0)
    """Against directions in which the sample hardly varies."""

    def latents(self, width: int) -> int:  # noqa: ARG002
        return 1

    def for_sites(self, reads: Sequence[HookPoint], writes: Sequence[HookPoint], widths: Sequence[int]) -> Self:  # noqa: ARG002
        if tuple(reads) == tuple(writes):
            raise InputError(f"a linear map from {reads[0]} to itself loses nothing; give a target")
        return self


class LinearMap(SparseAutoencoder):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    M_ED: Tensor
    b_E: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("M_ED", torch.zeros(self.output_width, self.width))
        self.register_buffer("b_E", torch.zeros(self.output_width))

    @classmethod
    def from_sample(cls, config: Config, sample: Batch, *, seed: int = 0) -> Self:  # noqa: ARG003
        x_TD, y_TE = (tensor.double() for tensor in sample)
        sae = cls(config, x_TD.shape[1], y_TE.shape[1])
        x_D, y_E = x_TD.mean(0), y_TE.mean(0)
        C_DD = (x_TD - x_D).T @ (x_TD - x_D)
        C_DD.diagonal().add_(config.ridge * C_DD.diagonal().mean())
        M_DE = torch.linalg.lstsq(C_DD, (x_TD - x_D).T @ (y_TE - y_E)).solution
        sae.M_ED.copy_(M_DE.T)
        sae.b_E.copy_(y_E - x_D @ M_DE)
        return sae

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return SparseCodes.from_dense(x_TD.new_zeros(len(x_TD), self.num_latents))

    def decode(self, codes: SparseCodes) -> Tensor:
        return self.b_E.repeat(codes.num_tokens, 1)

    def reconstruct(self, x_TD: Tensor, codes: SparseCodes) -> Tensor:
        return self.decode(codes) + x_TD @ self.M_ED.T

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        return {"reconstruction": mean_square_error(output_TD, batch.target_TD)}

    def absorb(self, source: Affine, target: Affine) -> None:
        self.M_ED.mul_(source.scale_D).div_(target.scale_D[:, None])
        self.b_E.div_(target.scale_D).add_(target.centre_D - self.M_ED @ source.centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return self.b_E.new_zeros(self.num_latents, self.output_width)
