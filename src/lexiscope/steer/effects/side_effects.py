"""Side effects: what steering does to text that it is not about.

On contexts of other documents, the same vector added at every token of text as in use:

    KL                 of the next-token distribution, clean ‖ steered, mean over predictions
    perplexity rise    exp(mean rise of the loss) - 1, over predictions whose true token is not what is steered to:
                       a rise of those would hide what is lost elsewhere
    features moved     other features that begin or cease to fire, per token, at the place that is steered

Intervals redraw contexts. B contexts, C tokens per context, D width, N predictions, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.changes import Mean, bootstrap
from lexiscope.index.live.contexts import Contexts, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.effects.controls import adding


class Rise(Record):
    """Relative rise of perplexity with its 95 % interval; 0.05 is 5 % more."""

    rise: Real
    low: Real
    high: Real


class SideEffects(Record):
    """Of one vector on text that it is not about."""

    kl: Mean
    perplexity: Rise
    features_moved: Mean | None
    """None where the dictionary does not read where it writes, or none was given."""


class OffTarget:
    """Text that steering is not about, with what the model makes of it when left alone."""

    def __init__(
        self,
        model: LanguageModel,
        hook: HookPoint,
        contexts: Contexts,
        *,
        target_tokens: Collection[int] = (),
        sae: SparseAutoencoder | None = None,
        seed: int = 0,
    ) -> None:
        """Read the text once.

        Args:
            hook: the place that is steered.
            target_tokens: predictions of these do not count for the perplexity.
            sae: counts the features that move, where it reads what it writes.

        Raises:
            InputError: too little text is left for an interval.
        """
        self._model, self._hook, self._contexts, self._seed = model, hook, contexts, seed
        self._counted_BC = contexts.text_BC[:, :-1] & contexts.text_BC[:, 1:]
        self._targets_BC = contexts.tokens_BC[:, 1:]
        self._off_BC = self._apart_from(target_tokens)
        self._known: dict[bytes, Rise] = {}
        logits_BCV = self._logits()
        self._clean_BCV = logits_BCV.log_softmax(-1)
        self._clean_loss_BC = self._loss(logits_BCV)
        self._sae = sae if sae is not None and tuple(sae.reads) == tuple(sae.writes) == (hook,) else None
        if self._sae is not None:
            self._x_TD = contexts.side_by_side(model.read(contexts.tokens_BC, [hook], contexts.attention_BC), [hook])
            self._fires_TF = self._fires(self._x_TD)

    def about(self, target_tokens: Collection[int]) -> OffTarget:
        """The same text for another goal, not read again.

        Raises:
            InputError: too little text is left for an interval.
        """
        other = copy.copy(self)
        other._off_BC = self._apart_from(target_tokens)  # noqa: SLF001 (the same class)
        other._known = {}  # noqa: SLF001
        return other

    def _apart_from(self, target_tokens: Collection[int]) -> Tensor:
        about = torch.tensor(sorted(target_tokens), dtype=torch.int64)
        off_BC = self._counted_BC & ~torch.isin(self._targets_BC, about)
        if int(off_BC.any(1).sum()) < 2:
            raise InputError("off-target text needs two contexts with words that are not the goal's; give more text")
        return off_BC

    @property
    def rows(self) -> int:
        return len(self._contexts.tokens_BC)

    @property
    def clean_loss(self) -> float:
        """Nats per token when nothing is steered."""
        return float(self._clean_loss_BC[self._off_BC].mean())

    @torch.no_grad()
    def rise(self, vectors: Tensor) -> Rise:
        """The perplexity alone. What was measured is not measured again: doses share many of their controls."""
        key = vectors.cpu().numpy().tobytes()
        if key not in self._known:
            self._known[key] = self._rise(self._loss(self._logits(vectors)))
        return self._known[key]

    @torch.no_grad()
    def effects(self, vectors: Tensor, feature: int | None = None) -> SideEffects:
        """All side effects of a vector [D], or of one for each context [B, D].

        Args:
            feature: is no side effect, so it does not count among those that move.
        """
        logits_BCV = self._logits(vectors)
        rise = self._known[vectors.cpu().numpy().tobytes()] = self._rise(self._loss(logits_BCV))
        kl_BC = (self._clean_BCV.exp() * (self._clean_BCV - logits_BCV.log_softmax(-1))).sum(-1)
        kl = bootstrap(_mean_by_row(kl_BC, self._counted_BC), self._seed)
        assert kl is not None
        return SideEffects(kl=kl, perplexity=rise, features_moved=self._moved(vectors, feature))

    def _logits(self, vectors: Tensor | None = None) -> Tensor:
        tokens_BC, attention_BC = self._contexts.tokens_BC, self._contexts.attention_BC
        with torch.no_grad():
            if vectors is None:
                logits_BCV = self._model.logits(tokens_BC, attention_BC)
            else:
                with adding(self._model, self._hook, vectors):
                    logits_BCV = self._model.logits(tokens_BC, attention_BC)
        return logits_BCV[:, :-1].float().cpu()

    def _loss(self, logits_BCV: Tensor) -> Tensor:
        return logits_BCV.logsumexp(-1) - logits_BCV.gather(-1, self._targets_BC[..., None])[..., 0]

    def _rise(self, loss_BC: Tensor) -> Rise:
        rises = bootstrap(_mean_by_row(loss_BC - self._clean_loss_BC, self._off_BC), self._seed)
        assert rises is not None
        assert rises.low is not None
        assert rises.high is not None
        return Rise(rise=math.expm1(rises.mean), low=math.expm1(rises.low), high=math.expm1(rises.high))

    def _fires(self, x_TD: Tensor) -> Tensor:
        assert self._sae is not None
        return encode(self._sae, x_TD).dense() != 0

    def _moved(self, vectors: Tensor, feature: int | None) -> Mean | None:
        if self._sae is None:
            return None
        rows_T = self._contexts.text_BC.nonzero()[:, 0]
        added_TD = vectors.expand(self.rows, -1)[rows_T] if vectors.ndim == 2 else vectors
        moved_TF = self._fires(self._x_TD + added_TD) != self._fires_TF
        if feature is not None:
            moved_TF[:, feature] = False
        moved_BC = self._contexts.spread(moved_TF.sum(1).float())
        return bootstrap(_mean_by_row(moved_BC, self._contexts.text_BC), self._seed)


def _mean_by_row(values_BC: Tensor, counted_BC: Tensor) -> list[float]:
    """Mean of what counts in each context that has any."""
    counts_B = counted_BC.sum(1)
    sums_B = (values_BC * counted_BC).sum(1)
    return [float(value) for value in (sums_B / counts_B)[counts_B > 0].tolist()]
