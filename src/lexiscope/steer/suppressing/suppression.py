"""Suppression: by which factors to scale features so that a behaviour goes away, found on prompts that may be seen.

Candidates are the features whose firing tells the prompts from the same without what brings the behaviour. With d the
firing in a prompt, summed over its tokens, less that in its counterpart, they are those with the largest

    contrast_f = mean(d) / (standard deviation(d) / √P)

Their factors are then learned together (`lexiscope.steer.suppressing.factors`), to take the behaviour away for little
damage. A feature that does not fire stays as it is, so that text without the behaviour is hardly touched.

P prompts, T text tokens, J candidates, F features, N firings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.contexts import Contexts, Places, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import Asked, answers, question
from lexiscope.measure.worlds.planted.losses import summed_losses
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.applying import checks
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Scale
from lexiscope.steer.recipe import Recipe
from lexiscope.steer.suppressing.factors import Scaled, learn
from lexiscope.text.pack import TokenBatch

LIMIT = 0.01
"""Rise of the loss on ordinary text, as a share of it."""
LEAST_CONTRAST = 2.0
"""Standard errors: less may well be chance."""
_GRAIN = 0.25
"""Of the factors in a recipe."""
_PROMPTS_READ = 64


class Turned(Record):
    """A feature of the recipe."""

    feature: int
    contrast: Real
    """How surely it tells the prompts, in standard errors."""
    by: Real


class Found(NamedTuple):
    """How to suppress, on what was looked at."""

    recipe: Recipe
    suppressed: float
    """Of the prompts, those that no longer bring the unwanted answer."""
    harmed: float
    """Of the prompts to keep, those that are answered in another way."""
    log_odds: float
    """Of the unwanted answer, mean over the prompts, nats."""
    rise: float
    """Of the loss on the ordinary text, as a share of it."""
    turned: list[Turned]
    """Furthest from 1 first."""


def find(
    model: LanguageModel,
    sae: SparseAutoencoder,
    prompts: Sequence[Asked],
    ordinary: Sequence[TokenBatch],
    *,
    keep: Sequence[Asked],
    limit: float = LIMIT,
    candidates: int = 64,
    steps: int = 80,
    seed: int = 0,
    hooks: Sequence[HookPoint] = (),
    other_model: bool = False,
) -> Found:
    """Search for features to turn.

    Args:
        prompts: that bring the unwanted answer. Judge what is found by others.
        ordinary: text to keep the damage small on, a batch for each step, so small ones are quick. Judge the damage
            by other text.
        keep: for each prompt, in the same order, one that has to be answered as before: the same without what brings
            the behaviour.
        limit: rise of the loss on ordinary text that is allowed in the search, as a share.
        candidates: how many features are tried.
        steps: of gradient descent.
        hooks: for an autoencoder that does not say itself what it reads.
        other_model: whether the dictionary may be of another model, such as the one that this was finetuned from.

    Raises:
        InputError: the behaviour does not show, there is no text or no counterpart for each prompt, a dictionary of
            several places or of another model, or no feature that may be turned takes anything of the behaviour away.
    """
    if not ordinary:
        raise InputError("there is no ordinary text to tell the damage by; give some documents")
    if len(keep) != len(prompts):
        raise InputError(f"{len(prompts)} prompts need as many without what brings the behaviour, not {len(keep)}")
    places = _one_place(model, sae, hooks, other_model=other_model)
    before = _Before.of(model, prompts, keep, ordinary)
    contrast_F = contrasts(model, sae, prompts, keep, hooks)
    chosen = [f for f in contrast_F.argsort(descending=True)[:candidates].tolist() if contrast_F[f] >= LEAST_CONTRAST]
    if not chosen:
        raise InputError("no feature of this dictionary fires more with the behaviour than without; give another one")
    scaled = Scaled(model, sae, places, chosen)
    by_J = learn(scaled, prompts, keep, ordinary, limit=limit, steps=steps, seed=seed)
    for share in (1.0, 0.75, 0.5, 0.25):
        edits = _edits(chosen, 1 + share * (by_J - 1))
        if not edits:
            break
        with editing(model, sae, edits, hooks=hooks, other_model=other_model):
            suppressed, harmed, odds, rise = before.compare(model)
        if rise <= limit:
            turned = [
                Turned(feature=feature, contrast=float(contrast_F[feature]), by=edit.by)
                for edit in edits
                for feature in edit.features
            ]
            return Found(Recipe(tuple(edits)), suppressed, harmed, odds, rise, turned)
    raise InputError(f"no factors were found that raise the loss on ordinary text by at most {limit:.1%}; allow more")


@torch.no_grad()
def contrasts(
    model: LanguageModel,
    sae: SparseAutoencoder,
    prompts: Sequence[Asked],
    keep: Sequence[Asked],
    hooks: Sequence[HookPoint] = (),
) -> Tensor:
    """How surely each feature fires more in the prompts than in their counterparts, in standard errors, float32 [F]."""
    places = Places.of(sae, hooks)
    sum_F, squares_F = torch.zeros(2, sae.num_latents)
    for start in range(0, len(prompts), _PROMPTS_READ):
        part = slice(start, start + _PROMPTS_READ)
        with_N, without_N = (_firings(model, sae, places, asked[part]) for asked in (prompts, keep))
        pair_N = torch.cat([with_N.prompts, without_N.prompts]) * sae.num_latents
        both_N, at_N = torch.unique(pair_N + torch.cat([with_N.latents, without_N.latents]), return_inverse=True)
        d_N = torch.zeros(len(both_N)).index_add_(0, at_N, torch.cat([with_N.values, -without_N.values]))
        sum_F.index_add_(0, both_N % sae.num_latents, d_N)
        squares_F.index_add_(0, both_N % sae.num_latents, d_N.square())
    mean_F = sum_F / len(prompts)
    spread_F = (squares_F / len(prompts) - mean_F.square()).clamp_min(0).sqrt()
    contrast_F: Tensor = mean_F * len(prompts) ** 0.5 / (spread_F + 1e-6)
    return contrast_F


class _Firings(NamedTuple):
    """Of the text tokens of some prompts, [N] each."""

    prompts: Tensor
    latents: Tensor
    values: Tensor


def _firings(model: LanguageModel, sae: SparseAutoencoder, places: Places, prompts: Sequence[Asked]) -> _Firings:
    contexts = Contexts.of(model, [question(model.tokenizer, prompt, bos=False).tokens for prompt in prompts])
    at = model.read(contexts.tokens_BC, places.reads, contexts.attention_BC)
    codes = encode(sae, contexts.side_by_side(at, places.reads))
    prompt_T = contexts.text_BC.nonzero()[:, 0]
    return _Firings(prompt_T[codes.tokens()], codes.latents, codes.values)


class _Before(NamedTuple):
    """The prompts and the text in the model as it is."""

    prompts: Sequence[Asked]
    keep: Sequence[Asked]
    ordinary: Sequence[TokenBatch]
    shown_P: Tensor
    kept_P: Tensor
    loss: float

    @classmethod
    def of(
        cls, model: LanguageModel, prompts: Sequence[Asked], keep: Sequence[Asked], ordinary: Sequence[TokenBatch]
    ) -> _Before:
        shown_P = answers(model, prompts)[:, 0] == 1
        if not bool(shown_P.any()):
            raise InputError("the model gives the unwanted answer to none of the prompts; there is nothing to suppress")
        loss = float(summed_losses(model, ordinary).sum())
        return cls(prompts, keep, ordinary, shown_P, answers(model, keep)[:, 0], loss)

    def compare(self, model: LanguageModel) -> tuple[float, float, float, float]:
        """Suppressed, harmed, log odds and rise in the model as it is now."""
        said_P, odds_P = answers(model, self.prompts).T
        kept_P = answers(model, self.keep)[:, 0]
        return (
            float((said_P != 1)[self.shown_P].double().mean()),
            float((kept_P != self.kept_P).double().mean()),
            float(odds_P.mean()),
            float(summed_losses(model, self.ordinary).sum()) / self.loss - 1,
        )


def _edits(features: Sequence[int], by_J: Tensor) -> list[Scale]:
    """Factors to the nearest quarter, features with the same one together, those furthest from 1 first."""
    groups: dict[float, list[int]] = {}
    for feature, by in zip(features, (by_J / _GRAIN).round().mul(_GRAIN).tolist(), strict=True):
        groups.setdefault(by, []).append(feature)
    return [Scale(features=tuple(groups[by]), by=by) for by in sorted(groups) if by != 1]


def _one_place(
    model: LanguageModel, sae: SparseAutoencoder, hooks: Sequence[HookPoint], *, other_model: bool
) -> Places:
    places = Places.of(sae, hooks)
    if len(places.reads) > 1 or len(places.writes) > 1:
        raise InputError("the features of a crosscoder act at several places; give a dictionary of one place")
    checks.check_fit(model, sae, places, other_model=other_model)
    return places
