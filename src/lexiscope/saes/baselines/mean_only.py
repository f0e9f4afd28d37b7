"""Mean only: no latent ever fires, the output is the mean activation. Its FVU is 1 and its L0 is 0.

D model width, T tokens.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.baselines.fixed import Fixed
from lexiscope.saes.settings import SaeConfig


class Config(SaeConfig):
    architecture: Literal["mean_only"] = "mean_only"

    def latents(self, width: int) -> int:  # noqa: ARG002
        return 1


class MeanOnly(Fixed):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def fit(self, x_TD: Tensor, seed: int) -> None:  # noqa: ARG002
        self.centre(x_TD)

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return SparseCodes.from_dense(x_TD.new_zeros(len(x_TD), self.num_latents))

    @property
    def directions_FD(self) -> Tensor:
        return self.mean_D.new_zeros(self.num_latents, self.width)
