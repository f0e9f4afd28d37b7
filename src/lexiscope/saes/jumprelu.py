"""JumpReLU: a latent fires above a threshold of its own, learned like a weight; and firing costs.

    z = W_enc (x - b_dec) + b_enc,   f = z H(z - θ),   x̂ = W_decᵀ f + b_dec,   L = (‖x - x̂‖² + λ P) / D

P is the count Σ H(z - θ) ("l0"), or Σ tanh(4 f) ("tanh"); rows of W_dec have unit length. Jumps have no gradient that a
sample could show. The gradient of the mean over activations is estimated from pairs of token and latent with z within
half a bandwidth ε of θ, on both sides of it:

    ∂f / ∂θ = -θ / ε,   ∂H / ∂θ = -1 / ε        where |z - θ| < ε / 2,   else 0
    ∂f / ∂z = H(z - θ),  ∂H / ∂z = 0

Pairs below the threshold have f = 0, and yet their share of the gradient of the reconstruction is a half of it: while
training they are codes of value 0. They outnumber those that fire, so they are taken from the first part of each batch
only, and count as often as that part goes into the batch: the same gradient in the mean, as tokens are shuffled. θ
itself is the parameter: the logarithm of one hardly moves under Adam.
A run that steers L0 multiplies all thresholds, after each step, by (L0 / what it should be by now)^0.1.

A dead latent can be pulled up by (λ_p / D) Σ max(0, θ - z) ("pre_activation"), besides what terms of the training do.

Sources: Rajamanoharan et al. 2024, "Jumping ahead" (formulas, l0); Anthropic, Circuits Updates January 2025 (tanh,
pre-activation loss 3e-6). T tokens, D model width, F latents, N entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import activation
from lexiscope.saes.base import Batch, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.encode import encode_above
from lexiscope.saes.parts import floor_for_l0
from lexiscope.saes.settings import SizedConfig

TANH_SCALE = 4.0
LOWEST = 1e-3
"""Thresholds stay above it: at zero a threshold has no gradient any more."""
STEER = 0.1
"""L0 falls about as the 2nd to 8th power of thresholds: each step takes back a fifth of an excess or more."""


class Options(activation.Options):
    penalty: Literal["l0", "tanh"] = "l0"
    coefficient: float | None = Field(None, ge=0)
    """λ, for activations scaled to mean ‖x‖² = D. None: L0 is steered instead."""
    bandwidth: float = Field(1.5, gt=0)
    """ε, in the units of scores, which have a standard deviation of 1 at the start."""
    below_share: float = Field(0.25, gt=0, le=1)
    """Part of each batch from which pairs just below their thresholds are taken."""
    pre_activation_coefficient: float = Field(0, ge=0)
    """λ_p."""

    @property
    def remedies(self) -> tuple[str, ...]:
        return ("auxk",)

    @property
    def bears_high_rates(self) -> bool:
        return True

    @property
    def needs_target_l0(self) -> bool:
        return self.coefficient is None


class Activation(activation.Activation):
    options: Options
    options_type: ClassVar[type[Options]] = Options

    def __init__(self, options: Options, num_latents: int) -> None:
        super().__init__(options, num_latents)
        self.threshold_F = nn.Parameter(torch.ones(num_latents))

    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        floor_F = self.threshold_F.detach()
        if not self.training:
            return encode_above(x_TD, centre_D, W_FD, b_F, floor_F)
        part = math.ceil(self.options.below_share * len(x_TD))
        scores = encode_above(x_TD, centre_D, W_FD, b_F, floor_F, (part, floor_F - self.options.bandwidth / 2))
        values_N = _Jump.apply(  # type: ignore[no-untyped-call]
            scores.values, self.threshold_F, scores.latents, self.options.bandwidth, len(x_TD) / max(1, part)
        )
        return SparseCodes(scores.offsets, scores.latents, values_N, scores.num_latents, aside=scores)

    def alone(self, latents: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        floor_J = self.threshold_F.detach()[list(latents)]
        return lambda scores_TJ, _b_J: scores_TJ * (scores_TJ > floor_J)

    def penalties(
        self,
        dictionary: LinearDictionary,
        batch: Batch,
        codes: SparseCodes,
        output_TD: Tensor,  # noqa: ARG002
        state: TrainingState,
    ) -> dict[str, Tensor]:
        scores_N = (codes if codes.aside is None else codes.aside).values
        if self.options.penalty == "l0":
            tokens = codes.num_tokens
            times = tokens / max(1, math.ceil(self.options.below_share * tokens))
            cost = _Count.apply(  # type: ignore[no-untyped-call]
                scores_N.detach(), self.threshold_F, codes.latents, self.options.bandwidth, times
            )
        else:
            cost = torch.tanh(TANH_SCALE * codes.values).sum()
        coefficient = 1.0 if self.options.coefficient is None else self.options.coefficient
        cells = batch.target_TD.numel()
        terms = {"sparsity": coefficient * state.sparsity_scale * cost / cells}
        if self.options.pre_activation_coefficient:
            shortfall = self._shortfall(dictionary, batch, codes, scores_N, state.dead_F)
            terms["pre_activation"] = self.options.pre_activation_coefficient * shortfall / cells
        return terms

    def _shortfall(
        self, dictionary: LinearDictionary, batch: Batch, codes: SparseCodes, scores_N: Tensor, dead_F: Tensor
    ) -> Tensor:
        """Σ max(0, θ - z) over tokens and dead latents, as Σ (θ - z) plus what the pairs with z > θ have too much."""
        dead = dead_F.nonzero().flatten()
        sum_D = (batch.input_TD - dictionary.centre_D).sum(0)
        sums_G = dictionary.W_enc_FD[dead] @ sum_D + codes.num_tokens * dictionary.b_enc_F[dead]
        below = (codes.num_tokens * self.threshold_F[dead] - sums_G).sum()
        back_N = dead_F[codes.latents]
        return below + (scores_N[back_N] - self.threshold_F[codes.latents[back_N]]).relu().sum()

    @torch.no_grad()
    def after_step(self, codes: SparseCodes) -> None:  # noqa: ARG002
        self.threshold_F.clamp_(min=LOWEST)

    @torch.no_grad()
    def steer(self, excess: float) -> None:
        """All thresholds by one factor: gradients alone move them by no more than a learning rate per step."""
        self.threshold_F.mul_(math.exp(STEER * excess)).clamp_(min=LOWEST)

    @torch.no_grad()
    def calibrate(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, l0: float) -> None:
        """One factor for all thresholds."""
        units_F = self.threshold_F
        factor = floor_for_l0(x_TD - centre_D, W_FD / units_F[:, None], b_F / units_F, l0)
        self.threshold_F.mul_(factor).clamp_(min=LOWEST)

    @torch.no_grad()
    def absorb(self, scale: float) -> None:
        self.threshold_F.div_(scale)


class _Jump(torch.autograd.Function):
    """z H(z - θ) of every entry; all of them lie above θ - ε / 2. Those below θ count ``times`` in its gradient."""

    @staticmethod
    def forward(
        ctx: Any, scores_N: Tensor, threshold_F: Tensor, latents_N: Tensor, bandwidth: float, times: float
    ) -> Tensor:
        near_N, fires_N = _near(scores_N, threshold_F, latents_N, bandwidth, times)
        ctx.save_for_backward(threshold_F, latents_N, fires_N, near_N)
        ctx.bandwidth = bandwidth
        return scores_N * fires_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor | None, ...]:
        threshold_F, latents_N, fires_N, near_N = ctx.saved_tensors
        grad_F = torch.zeros_like(threshold_F).index_add_(0, latents_N, grad_N * near_N)
        return grad_N * fires_N, grad_F.mul_(-threshold_F / ctx.bandwidth), None, None, None


class _Count(torch.autograd.Function):
    """Σ H(z - θ) over all entries; all of them lie above θ - ε / 2. Those below θ count ``times`` in its gradient."""

    @staticmethod
    def forward(
        ctx: Any, scores_N: Tensor, threshold_F: Tensor, latents_N: Tensor, bandwidth: float, times: float
    ) -> Tensor:
        near_N, fires_N = _near(scores_N, threshold_F, latents_N, bandwidth, times)
        ctx.save_for_backward(threshold_F, latents_N, near_N)
        ctx.bandwidth = bandwidth
        return fires_N.sum().to(scores_N.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        threshold_F, latents_N, near_N = ctx.saved_tensors
        near_F = torch.zeros_like(threshold_F).index_add_(0, latents_N, near_N)
        return None, near_F.mul_(-grad / ctx.bandwidth), None, None, None


def _near(
    scores_N: Tensor, threshold_F: Tensor, latents_N: Tensor, bandwidth: float, times: float
) -> tuple[Tensor, Tensor]:
    """How often an entry counts in the gradient of its threshold, and whether it fires."""
    above_N = scores_N - threshold_F[latents_N]
    fires_N = above_N > 0
    return torch.where(fires_N, (above_N < bandwidth / 2).to(scores_N.dtype), times), fires_N


class Config(Options, SizedConfig):
    architecture: Literal["jumprelu"] = "jumprelu"


class JumpReLU(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> Activation:
        return Activation(self.config, self.num_latents)
