"""BatchTopK: keep the k · T largest latents of a batch of T tokens, so that a token takes as many as it needs.

    f = BatchTopK(ReLU(W_enc (x - b_dec) + b_enc)),   x̂ = W_decᵀ f + b_dec,   L = ‖x - x̂‖² / D

A token on its own has no batch. In eval mode f = z where z > θ, one θ for all latents. While training θ follows the
smallest value that is kept in each batch, which is the k · T-th largest of all and hardly varies from batch to batch:
a short memory tracks the weights best. It begins as the right θ of the first weights, not as 0, so that no bias has to
be waited out. At the end θ is set on held-out activations to the value at which their mean L0 is k.

For the first part of a run every token has its own k largest, evaluated or not. While latents are close to random,
scores are mostly interference, which grows with the length of an activation, and long ones would take the share of the
others.

Source: Bussmann et al. 2024, "BatchTopK sparse autoencoders". T tokens, D model width, F latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import activation
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.encode import encode_above, encode_batch_topk, encode_topk
from lexiscope.saes.parts import floor_for_l0
from lexiscope.saes.settings import SizedConfig

MEMORY_STEPS = 10
"""Batches that the running threshold remembers."""


class Options(activation.Options):
    k: float = Field(32, gt=0)
    """Latents that fire on a token, in the mean over a batch: L0."""
    per_token_first: float = Field(0.5, ge=0, lt=1)
    """First share of a run, in which every token has its own k largest. Measured at D = 256, 488 steps: FVU 0.072, and
    0.102 when the batch chooses throughout."""

    @property
    def remedies(self) -> tuple[str, ...]:
        return ("auxk",)

    @property
    def fixed_l0(self) -> float:
        return self.k


class Activation(activation.Activation):
    options: Options
    options_type: ClassVar[type[Options]] = Options
    threshold: Tensor

    def __init__(self, options: Options, num_latents: int) -> None:
        super().__init__(options, num_latents)
        self.register_buffer("threshold", torch.zeros(()))
        self._per_token = False

    def before_step(self, progress: float) -> None:
        self._per_token = progress < self.options.per_token_first

    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        if self._per_token:
            return encode_topk(x_TD, centre_D, W_FD, b_F, max(1, round(self.options.k)))
        if self.training:
            return encode_batch_topk(x_TD, centre_D, W_FD, b_F, self.options.k)
        return encode_above(x_TD, centre_D, W_FD, b_F, float(self.threshold))

    def alone(self, latents: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor] | None:  # noqa: ARG002
        if self._per_token or self.training:
            return None
        floor = float(self.threshold)
        return lambda scores_TJ, _b_J: scores_TJ * (scores_TJ > floor)

    @torch.no_grad()
    def after_step(self, codes: SparseCodes) -> None:
        if codes.num_tokens and not self._per_token:
            full = len(codes) >= max(1, round(self.options.k * codes.num_tokens))
            smallest = codes.values.min() if full else torch.zeros_like(self.threshold)
            self.threshold.lerp_(smallest, 1 / MEMORY_STEPS)

    @torch.no_grad()
    def calibrate(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, l0: float) -> None:
        self.threshold.fill_(max(0.0, floor_for_l0(x_TD - centre_D, W_FD, b_F, l0)))
        self._per_token = False  # a run of one step is never told that its first share is over

    def absorb(self, scale: float) -> None:
        self.threshold.div_(scale)


class Config(Options, SizedConfig):
    architecture: Literal["batch_topk"] = "batch_topk"


class BatchTopK(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> Activation:
        return Activation(self.config, self.num_latents)
