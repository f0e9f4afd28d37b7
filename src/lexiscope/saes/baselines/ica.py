"""ICA: directions along which activations are as unlike a Gaussian as can be, each split into its two signs.

    s = W K (x - μ),   z_i = ‖a_i‖ s_i,   f = the k largest of |z|, as [ReLU(z), ReLU(-z)]
    x̂ = μ + Σ ± f_i a_i / ‖a_i‖

K whitens the sample. W is orthogonal and maximises Σ E[ln cosh s_i] against what a Gaussian has, by fixed-point steps
on all components at once, each followed by the nearest orthogonal matrix:

    W ← E[tanh(W y) yᵀ] - E[1 - tanh²(W y)] W,   W ← (W Wᵀ)^-1/2 W,   y = K (x - μ)

a_i are the columns of (W K)⁺. Directions without variance in the sample have no component and their latents stay
silent. Components of Gaussian data are arbitrary; the steps end after ``max_steps`` in any case.

Source: Hyvärinen 1999, "Fast and robust fixed-point algorithms for independent component analysis".
T tokens, D model width, C ≤ D components, F = 2 D latents.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.seeds import generator
from lexiscope.saes.baselines.fixed import Fixed
from lexiscope.saes.parts import signed_codes
from lexiscope.saes.settings import SaeConfig

RANK_TOLERANCE = 1e-9
"""Share of the largest variance below which a direction is rounding."""


class Config(SaeConfig):
    architecture: Literal["ica"] = "ica"
    k: int | None = Field(32, ge=1)
    """Components kept per token, the largest. None: all."""
    max_steps: int = Field(200, ge=1)
    tolerance: float = Field(1e-4, gt=0)
    """The steps end when no component turns by more: 1 - |cos|."""

    def latents(self, width: int) -> int:
        return 2 * width


class Ica(Fixed):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    reads_DD: Tensor
    """Row i gives z_i."""
    axes_DD: Tensor
    """Row i is a_i / ‖a_i‖."""

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("reads_DD", torch.zeros(width, width))
        self.register_buffer("axes_DD", torch.zeros(width, width))

    def fit(self, x_TD: Tensor, seed: int) -> None:
        centred_TD = self.centre(x_TD)
        variances_D, rows_DD = torch.linalg.eigh(centred_TD.T @ centred_TD / len(centred_TD))
        kept = variances_D > RANK_TOLERANCE * variances_D[-1]
        deviations_C, rows_CD = variances_D[kept].sqrt(), rows_DD.T[kept]
        white_TC = (centred_TD @ rows_CD.T / deviations_C).float()
        start_CC = torch.randn(len(rows_CD), len(rows_CD), generator=generator(seed, "ica"))
        turn_CC = self._turn(white_TC, start_CC.to(white_TC)).double()
        mixing_CD = (turn_CC * deviations_C) @ rows_CD  # W is orthogonal: the columns of (W K)⁺ are rows of W K⁻ᵀ
        lengths_C = mixing_CD.norm(dim=1, keepdim=True)
        order = lengths_C.flatten().argsort(descending=True)
        self.axes_DD[: len(order)] = (mixing_CD / lengths_C)[order].float()
        self.reads_DD[: len(order)] = ((turn_CC / deviations_C) @ rows_CD * lengths_C)[order].float()

    def _turn(self, white_TC: Tensor, turn_CC: Tensor) -> Tensor:
        """The orthogonal W."""
        turn_CC = _nearest_orthogonal(turn_CC)
        for _ in range(self.config.max_steps):
            bent_TC = torch.tanh(white_TC @ turn_CC.T)
            slope_C = 1 - bent_TC.square().mean(0)
            moved_CC = _nearest_orthogonal(bent_TC.T @ white_TC / len(white_TC) - slope_C[:, None] * turn_CC)
            turned_C = 1 - (moved_CC * turn_CC).sum(1).abs()
            turn_CC = moved_CC
            if turned_C.max() < self.config.tolerance:
                break
        return turn_CC

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return signed_codes((x_TD - self.mean_D) @ self.reads_DD.T, self.config.k)

    @property
    def directions_FD(self) -> Tensor:
        return torch.cat([self.axes_DD, -self.axes_DD])


def _nearest_orthogonal(matrix_CC: Tensor) -> Tensor:
    """(M Mᵀ)^-1/2 M, which favours no component over another."""
    left_CC, _, right_CC = torch.linalg.svd(matrix_CC.double())
    nearest_CC: Tensor = left_CC @ right_CC
    return nearest_CC.to(matrix_CC.dtype)
