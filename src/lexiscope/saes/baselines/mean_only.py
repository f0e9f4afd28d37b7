"""Mean only: no latent ever fires, the output is the mean activation. Its FVU is 1 and its L0 is 0.

D model width, T tokens.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch, SaeConfig, SparseAutoencoder, TrainingState
from lexiscope.saes.parts import mean_square_error


class Config(SaeConfig):
    architecture: Literal["mean_only"] = "mean_only"

    def latents(self, width: int) -> int:  # noqa: ARG002
        return 1


class MeanOnly(SparseAutoencoder):
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
        return SparseCodes.from_dense(x_TD.new_zeros(len(x_TD), self.num_latents))

    def decode(self, codes: SparseCodes) -> Tensor:
        return self.mean_D.repeat(codes.num_tokens, 1)

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        return {"reconstruction": mean_square_error(output_TD, batch.target_TD)}

    def absorb(self, source: Affine, target: Affine) -> None:
        self.mean_D.div_(source.scale).add_(target.centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return self.mean_D.new_zeros(self.num_latents, self.width)
