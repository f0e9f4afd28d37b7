"""Suppression: which features to turn so that a behaviour goes away, found on prompts that may be seen.

    attribution_f = mean over prompts of Σ_t f_t · ⟨∂ log odds / ∂x_t, w⟩

is how much of the unwanted answer a feature is worth, to first order (Nanda 2023, "Attribution patching"; Marks et al.
2024). The features worth most are tried: each is ablated by itself, and those whose ablation lowers the log odds most
for the damage it does are taken together, one more at a time, as long as the damage stays within the limit. Where
ablating is not enough they are turned round, f ← -s · f with s in steps: a feature that does not fire stays as it is,
so that text without the behaviour is hardly touched.

B prompts, C tokens per context, T text tokens, D width, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.contexts import Contexts, Places, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import Asked, Question, answers, question
from lexiscope.measure.worlds.planted.losses import summed_losses
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Scale
from lexiscope.steer.recipe import Recipe
from lexiscope.text.pack import TokenBatch

LIMIT = 0.01
"""Rise of the loss on ordinary text, as a share of it."""
TARGET = 0.95
"""Share of the selection's unwanted answers to take away before the search ends."""
_TURNS = (0.0, -0.5, -1.0, -2.0, -4.0)
_LEAST_RISE = 1e-5
"""A smaller damage is noise, and dividing by it would choose by noise."""


class Tried(Record):
    """A feature that was ablated by itself."""

    feature: int
    attribution: Real
    """Nats of log odds that its activations are worth."""
    lowered: Real
    """By how much ablating it lowers the log odds, nats."""
    rise: Real
    """Of the loss on ordinary text."""


class Found(NamedTuple):
    """How to suppress, and what was tried."""

    recipe: Recipe
    suppressed: float
    """Of the prompts that were looked at, those that no longer bring the unwanted answer."""
    harmed: float
    """Of the prompts to keep, those that are answered in another way."""
    rise: float
    """Of the loss on the ordinary text that was looked at, as a share of it."""
    tried: list[Tried]


@torch.no_grad()
def attributions(
    model: LanguageModel, sae: SparseAutoencoder, prompts: Sequence[Asked], hooks: Sequence[HookPoint] = ()
) -> Tensor:
    """Of every feature, over prompts, float32 [F].

    Raises:
        InputError: a dictionary of several places.
    """
    places = Places.of(sae, hooks)
    if len(places.reads) > 1 or len(places.writes) > 1:
        raise InputError("the features of a crosscoder act at several places; give a dictionary of one place")
    lead = 1 if model.bos == "context" and model.tokenizer.bos_id is not None else 0
    total_F = torch.zeros(sae.num_latents)
    asked = [question(model.tokenizer, prompt, bos=False) for prompt in prompts]
    for start in range(0, len(asked), 32):
        part = asked[start : start + 32]
        contexts = Contexts.of(model, [one.tokens for one in part])
        gradient_BCD, x_BCD = _gradient(model, places, contexts, part, lead)
        codes = encode(sae, contexts.side_by_side({places.reads[0]: x_BCD}, places.reads))
        gradient_TD = gradient_BCD[contexts.text_BC].cpu()
        W_FD = sae.directions_FD.detach().float().cpu()
        worth_N = codes.values * (gradient_TD[codes.tokens()] * W_FD[codes.latents]).sum(1)
        total_F.index_add_(0, codes.latents, worth_N)
    return total_F / len(asked)


def _gradient(
    model: LanguageModel, places: Places, contexts: Contexts, asked: Sequence[Question], lead: int
) -> tuple[Tensor, Tensor]:
    """Of the sum of the log odds with respect to what is written, and what is read, [B, C, D]."""
    at: dict[str, Tensor] = {}

    def write(x_BCD: Tensor) -> Tensor:
        at["written"] = torch.zeros_like(x_BCD, requires_grad=True)
        return x_BCD + at["written"]

    def read(x_BCD: Tensor) -> Tensor:
        at["read"] = x_BCD.detach().clone()
        return x_BCD

    ends_B = torch.tensor([lead + len(one.tokens) - 1 for one in asked])
    rows_B = torch.arange(len(asked))
    with torch.enable_grad(), model.splice({places.reads[0]: read}), model.splice({places.writes[0]: write}):
        last_BV = model.logits(contexts.tokens_BC, contexts.attention_BC, grad=True)[rows_B, ends_B]
        planted_B, honest_B = (torch.tensor([getattr(one, name) for one in asked]) for name in ("planted", "honest"))
        odds = (last_BV[rows_B, planted_B] - last_BV[rows_B, honest_B]).sum()
        (gradient_BCD,) = torch.autograd.grad(odds, at["written"])
    return gradient_BCD, at["read"]


def find(
    model: LanguageModel,
    sae: SparseAutoencoder,
    prompts: Sequence[Asked],
    ordinary: Sequence[TokenBatch],
    *,
    keep: Sequence[Asked] = (),
    limit: float = LIMIT,
    candidates: int = 24,
    most: int = 8,
    hooks: Sequence[HookPoint] = (),
    other_model: bool = False,
) -> Found:
    """Search for features to turn.

    Args:
        prompts: that bring the unwanted answer. Judge what is found by others.
        ordinary: text to keep the damage small on. Judge the damage by other text.
        keep: prompts that have to be answered as before, such as the same without what brings the behaviour: each that
            is not counts against one that was suppressed.
        limit: rise of the loss on ordinary text that is allowed in the search, as a share.
        candidates: how many features are tried.
        most: how many may be turned.
        other_model: whether the dictionary may be of another model, such as the one that this was finetuned from.

    Raises:
        InputError: the behaviour does not show, there is no text, or no feature is worth anything of it.
    """
    if not ordinary:
        raise InputError("there is no ordinary text to tell the damage by; give some documents")
    search = _Search(model, sae, prompts, ordinary, keep, hooks, other_model=other_model)
    worth_F = attributions(model, sae, prompts, hooks)
    tried = search.tried(worth_F, candidates)
    best: Found | None = None
    chosen: list[int] = []
    for one in tried:
        if len(chosen) == most or one.lowered <= 0 or (best is not None and best.suppressed - best.harmed >= TARGET):
            break
        if search.rise([*chosen, one.feature], 0.0) > limit:
            continue
        chosen.append(one.feature)
        for by in _TURNS:
            if (rise := search.rise(chosen, by)) > limit:
                break
            suppressed, harmed = search.suppressed(chosen, by), search.harmed(chosen, by)
            if best is None or (suppressed - harmed, -rise) > (best.suppressed - best.harmed, -best.rise):
                best = Found(Recipe((Scale(features=tuple(chosen), by=by),)), suppressed, harmed, rise, tried)
            if suppressed - harmed >= TARGET:
                break
    if best is None:
        raise InputError(
            f"ablating any feature that matters raises the loss on ordinary text by more than {limit:.1%}; allow more"
        )
    return best


class _Search:
    """The prompts and the text in the model as it is, and again with features turned."""

    def __init__(
        self,
        model: LanguageModel,
        sae: SparseAutoencoder,
        prompts: Sequence[Asked],
        ordinary: Sequence[TokenBatch],
        keep: Sequence[Asked],
        hooks: Sequence[HookPoint],
        *,
        other_model: bool,
    ) -> None:
        self._model, self._sae, self._prompts, self._ordinary = model, sae, prompts, ordinary
        self._keep, self._hooks, self._other_model = keep, hooks, other_model
        self._kept_P = answers(model, keep)[:, 0] if keep else None
        said_P, odds_P = answers(model, prompts).T
        self._shown_P = said_P == 1
        self._odds = float(odds_P.mean())
        if not bool(self._shown_P.any()):
            raise InputError("the model gives the unwanted answer to none of the prompts; there is nothing to suppress")
        self._loss = float(summed_losses(model, ordinary).sum())

    def tried(self, worth_F: Tensor, candidates: int) -> list[Tried]:
        """The features worth most, each ablated by itself: those that do most for their damage first."""
        found = [
            Tried(
                feature=feature,
                attribution=float(worth_F[feature]),
                lowered=self._odds - self._log_odds([feature], 0.0),
                rise=self.rise([feature], 0.0),
            )
            for feature in worth_F.argsort(descending=True)[:candidates].tolist()
            if worth_F[feature] > 0
        ]
        if not any(one.lowered > 0 for one in found):
            raise InputError("no feature of this dictionary is worth anything of the unwanted answer; give another one")
        return sorted(found, key=lambda one: -one.lowered / max(one.rise, _LEAST_RISE) ** 0.5)

    def rise(self, features: Sequence[int], by: float) -> float:
        with self._turned(features, by):
            return float(summed_losses(self._model, self._ordinary).sum()) / self._loss - 1

    def suppressed(self, features: Sequence[int], by: float) -> float:
        with self._turned(features, by):
            said_P = answers(self._model, self._prompts)[:, 0]
        return float((said_P != 1)[self._shown_P].double().mean())

    def harmed(self, features: Sequence[int], by: float) -> float:
        if self._kept_P is None:
            return 0.0
        with self._turned(features, by):
            said_P = answers(self._model, self._keep)[:, 0]
        return float((said_P != self._kept_P).double().mean())

    def _log_odds(self, features: Sequence[int], by: float) -> float:
        with self._turned(features, by):
            return float(answers(self._model, self._prompts)[:, 1].mean())

    def _turned(self, features: Sequence[int], by: float) -> AbstractContextManager[None]:
        edits = [Scale(features=tuple(features), by=by)]
        return editing(self._model, self._sae, edits, hooks=self._hooks, other_model=self._other_model)
