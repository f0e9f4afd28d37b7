"""Passage: a batch of text that a model has read, and how its predictions change when an activation is replaced.

Only real text positions are replaced: BOS, special and padding positions keep their activation, because models lean
heavily on the first position and autoencoders are not trained on it. Predictions made at those positions, or about
those tokens, are not counted. B contexts, C context length, T text tokens, D width, V vocabulary, N predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel
from lexiscope.text.pack import TokenBatch

Replace = Callable[[Tensor], Tensor]
"""From the activations of some tokens, float32 [T, D], to what takes their place."""


class Passage:
    """One batch of contexts."""

    def __init__(self, model: LanguageModel, batch: TokenBatch) -> None:
        self.model = model
        self.tokens_BC = torch.as_tensor(batch.tokens_BC, device=model.device)
        self.attention_BC = torch.as_tensor(batch.attention_BC, device=model.device)
        self.mask_BC = torch.as_tensor(batch.mask_BC, device=model.device)
        """True for text."""
        self.counted_BC = self.mask_BC[:, :-1] & self.mask_BC[:, 1:]
        """True at tokens whose prediction counts."""
        self.targets_N = self.tokens_BC[:, 1:][self.counted_BC]

    def read(self, hook: HookPoint) -> Tensor:
        """Activations of the text tokens, float32 [T, D]."""
        with torch.no_grad():
            return self.model.read(self.tokens_BC, [hook], self.attention_BC)[hook][self.mask_BC].float()

    @cached_property
    def clean_NV(self) -> Tensor:
        """Log probabilities of the model as it is."""
        return self.log_probabilities()

    def log_probabilities(self, hook: HookPoint | None = None, replace: Replace | None = None) -> Tensor:
        """Of the next token, [N, V]; with the activation at ``hook`` replaced. Gradients flow to what replaces it."""
        return self.log_probabilities_with({} if hook is None or replace is None else {hook: replace})

    def log_probabilities_with(self, replacements: Mapping[HookPoint, Replace]) -> Tensor:
        """The same with activations replaced at any number of hook points."""
        if not replacements:
            logits_BCV = self.model.logits(self.tokens_BC, self.attention_BC)
        else:
            with self.model.splice({hook: self._at_text(replace) for hook, replace in replacements.items()}):
                logits_BCV = self.model.logits(self.tokens_BC, self.attention_BC, grad=torch.is_grad_enabled())
        return logits_BCV[:, :-1][self.counted_BC].float().log_softmax(1)

    def divergence(self, log_probabilities_NV: Tensor) -> Tensor:
        """KL(model as it is ‖ these predictions), nats, [N]."""
        return (self.clean_NV.exp() * (self.clean_NV - log_probabilities_NV)).sum(1)

    def cross_entropy(self, log_probabilities_NV: Tensor) -> Tensor:
        """Of the tokens that follow in the text, nats, [N]."""
        return -log_probabilities_NV.gather(1, self.targets_N[:, None])[:, 0]

    def _at_text(self, replace: Replace) -> Replace:
        def splice(x_BCD: Tensor) -> Tensor:
            out_BCD = x_BCD.clone()
            out_BCD[self.mask_BC] = replace(x_BCD[self.mask_BC].float()).to(x_BCD.dtype)
            return out_BCD

        return splice
