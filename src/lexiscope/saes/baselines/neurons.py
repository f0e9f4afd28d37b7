"""Neurons: the coordinates that the model itself has, each split into a positive and a negative part.

    f = [ReLU(x - μ), ReLU(μ - x)],   x̂ = μ + f[:D] - f[D:]

Without ``k`` nothing is lost: FVU 0 at L0 = D. T tokens, D model width, F = 2 D latents.
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
    architecture: Literal["neurons"] = "neurons"
    k: int | None = Field(None, ge=1)
    """Coordinates kept per token, the largest. None: all."""

    def latents(self, width: int) -> int:
        return 2 * width


class Neurons(Fixed):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def fit(self, x_TD: Tensor, seed: int) -> None:  # noqa: ARG002
        self.centre(x_TD)

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return signed_codes(x_TD - self.mean_D, self.config.k)

    @property
    def directions_FD(self) -> Tensor:
        axes_DD = torch.eye(self.width, dtype=self.mean_D.dtype, device=self.mean_D.device)
        return torch.cat([axes_DD, -axes_DD])
