"""NMF: activations as sums, never differences, of a few parts.

    f = argmin_{f ≥ 0} ‖x - μ - Σ f_i w_i‖²,   x̂ = μ + Σ f_i w_i,   ‖w_i‖ = 1

"semi" lets the parts w have any sign and works about the mean: apt for a residual stream, where signs mean something.
"nmf" wants parts without negative entries and μ = 0: apt for what is never negative itself, such as what an MLP
computes after a ReLU, and refused elsewhere. Codes and parts take turns, each the best for the other: least squares,
with f ≥ 0 by accelerated projected gradient steps. There are about as many parts as dimensions, and many are used on
every token: ``k`` keeps the largest of each, which is then no longer the best code.

Sources: Lee and Seung 1999, "Learning the parts of objects by non-negative matrix factorization"; Ding, Li and Jordan
2010, "Convex and semi-nonnegative matrix factorizations". T tokens, D model width, F latents.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes.baselines.fixed import Fixed
from lexiscope.saes.initialise import initial_directions
from lexiscope.saes.parts import make_unit_rows
from lexiscope.saes.settings import SaeConfig

ENCODE_STEPS = 100
FIT_STEPS = 10
"""Gradient steps for the codes in every round of the fit; they go on from where the last round ended."""


class Config(SaeConfig):
    architecture: Literal["nmf"] = "nmf"
    kind: Literal["semi", "nmf"] = "semi"
    num_latents: int | None = Field(None, ge=1)
    """F. None: as many as dimensions."""
    k: int | None = Field(None, ge=1)
    """Parts kept per token, the largest. None: all."""
    rounds: int = Field(50, ge=1)

    def latents(self, width: int) -> int:
        return self.num_latents or width


class Nmf(Fixed):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    parts_FD: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("parts_FD", torch.zeros(self.num_latents, width))

    def fit(self, x_TD: Tensor, seed: int) -> None:
        non_negative = self.config.kind == "nmf"
        if non_negative and bool((x_TD < 0).any()):
            raise InputError(
                "kind nmf needs activations that are never negative, such as an MLP's after its ReLU; use kind semi"
            )
        x_TD = x_TD if non_negative else self.centre(x_TD).float()
        parts_FD = initial_directions("data", x_TD, self.num_latents, seed=seed)
        parts_FD = parts_FD.abs() if non_negative else parts_FD
        codes_TF = x_TD.new_zeros(len(x_TD), self.num_latents)
        for _ in range(self.config.rounds):
            codes_TF = nonnegative_least_squares(x_TD @ parts_FD.T, parts_FD @ parts_FD.T, codes_TF, FIT_STEPS)
            gram_FF, meets_FD = codes_TF.T @ codes_TF, codes_TF.T @ x_TD
            if non_negative:
                parts_FD = nonnegative_least_squares(meets_FD.T, gram_FF, parts_FD.T, FIT_STEPS).T.contiguous()
            else:
                parts_FD = _solve(gram_FF, meets_FD)
            lengths_F = torch.linalg.vector_norm(parts_FD, dim=1)
            make_unit_rows(parts_FD)
            codes_TF = codes_TF * lengths_F
        self.parts_FD.copy_(parts_FD)

    def encode(self, x_TD: Tensor) -> SparseCodes:
        centred_TD, parts_FD = (x_TD - self.mean_D).double(), self.parts_FD.double()  # rounding adds up over the steps
        start_TF = centred_TD.new_zeros(len(x_TD), self.num_latents)
        codes_TF = nonnegative_least_squares(centred_TD @ parts_FD.T, parts_FD @ parts_FD.T, start_TF, ENCODE_STEPS)
        codes_TF = codes_TF.to(x_TD.dtype)
        if self.config.k is None:
            return SparseCodes.from_dense(codes_TF)
        values_TK, latents_TK = codes_TF.topk(min(self.config.k, self.num_latents), dim=1, sorted=False)
        return SparseCodes.from_topk(values_TK, latents_TK, self.num_latents)

    @property
    def directions_FD(self) -> Tensor:
        return self.parts_FD


def nonnegative_least_squares(meets_TF: Tensor, gram_FF: Tensor, start_TF: Tensor, steps: int) -> Tensor:
    """Rows f ≥ 0 that lower f G fᵀ - 2 f mᵀ, by projected gradient steps with momentum (Beck and Teboulle 2009)."""
    largest = torch.linalg.matrix_norm(gram_FF.double(), 2).clamp_min(torch.finfo(torch.float32).tiny)
    rate = float(1 / largest)
    codes_TF = ahead_TF = start_TF
    momentum = 1.0
    for _ in range(steps):
        before_TF, codes_TF = codes_TF, (ahead_TF - rate * (ahead_TF @ gram_FF - meets_TF)).clamp_min(0)
        momentum, last = (1 + (1 + 4 * momentum**2) ** 0.5) / 2, momentum
        ahead_TF = codes_TF + ((last - 1) / momentum) * (codes_TF - before_TF)
    return codes_TF


def _solve(gram_FF: Tensor, meets_FD: Tensor) -> Tensor:
    """G⁺ M, also where some part is never used."""
    solution: Tensor = torch.linalg.lstsq(gram_FF.double(), meets_FD.double(), driver="gelsd").solution
    return solution.to(meets_FD.dtype)
