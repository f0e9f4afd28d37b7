"""ReLU + L1: every latent that scores above zero fires, and firing costs.

    f = ReLU(W_enc (x - b_dec) + b_enc),   x̂ = W_decᵀ f + b_dec,   L = (‖x - x̂‖² + λ P(c)) / D

Two costs c. "l1" is f with decoder rows held at unit length, so that codes can't shrink into long rows (Bricken et al.
2023, "Towards Monosemanticity"). "decoder_norm" is f ‖W_dec‖ with free rows, the same cost without the constraint
(Conerly et al. 2024, "Update on how we train SAEs"). Dividing all of it by D moves no minimum; it lets one
``grad_clip`` serve every width.

P is Σ c. With ``p_end`` below 1 it becomes κ Σ c^p, p falling from 1 to p_end: closer to a count, so that strong codes
shrink less (Karvonen et al. 2024, "Measuring progress in dictionary learning", p-annealing). κ keeps P at the value of
Σ c, batch by batch and without a gradient, where the paper rescales at each of ten steps of p. c^p is taken from
δ = 0.01 on, (c + δ)^p - δ^p, since its slope at 0 is infinite.

T tokens, D model width, F latents, N active entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import activation
from lexiscope.saes.base import Batch, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.encode import encode_relu
from lexiscope.saes.parts import floor_for_l0
from lexiscope.saes.settings import SizedConfig

ANNEAL = 0.2, 0.8
"""Shares of the run between which p falls: later than the start, when no code means anything yet."""
DELTA = 0.01


class Options(activation.Options):
    penalty: Literal["l1", "decoder_norm"] = "l1"
    l1_coefficient: float | None = Field(None, ge=0)
    """λ, for activations scaled to mean ‖x‖² = D. A latent costs λ / 2 of its strength when it fires. None: L0 is
    steered to a target instead."""
    p_end: float = Field(1.0, gt=0, le=1)
    """p at the end; 1 is L1 throughout."""

    @property
    def needs_target_l0(self) -> bool:
        return self.l1_coefficient is None


class Activation(activation.Activation):
    options: Options
    options_type: ClassVar[type[Options]] = Options

    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        return encode_relu(x_TD, centre_D, W_FD, b_F)

    def alone(self, latents: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:  # noqa: ARG002
        return lambda scores_TJ, _b_J: scores_TJ.relu()

    def penalties(
        self,
        dictionary: LinearDictionary,
        batch: Batch,
        codes: SparseCodes,
        output_TD: Tensor,  # noqa: ARG002
        state: TrainingState,
    ) -> dict[str, Tensor]:
        costs_N = codes.values
        if self.options.penalty == "decoder_norm":
            costs_N = costs_N * dictionary.row_lengths_F.index_select(0, codes.latents)
        coefficient = 1.0 if self.options.l1_coefficient is None else self.options.l1_coefficient
        cost = self._annealed(costs_N, state.progress)
        return {"sparsity": coefficient * state.sparsity_scale * cost / batch.target_TD.numel()}

    def _annealed(self, costs_N: Tensor, progress: float) -> Tensor:
        begin, end = ANNEAL
        done = min(1.0, max(0.0, (progress - begin) / (end - begin)))
        p = 1 + done * (self.options.p_end - 1)
        total: Tensor = costs_N.sum()
        if p == 1 or not len(costs_N):
            return total
        powers: Tensor = ((costs_N + DELTA) ** p - DELTA**p).sum()
        scale = (total / powers).detach()
        return powers * scale

    @torch.no_grad()
    def start(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, l0: float) -> None:
        """One number added to all biases. After training that would move every code, so there is no `calibrate`."""
        b_F.sub_(floor_for_l0(x_TD - centre_D, W_FD, b_F, l0))

    @property
    def unit_rows(self) -> bool:
        return self.options.penalty == "l1"


class Config(Options, SizedConfig):
    architecture: Literal["relu_l1"] = "relu_l1"


class ReluL1(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> Activation:
        return Activation(self.config, self.num_latents)
