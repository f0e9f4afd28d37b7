"""Suppression without a dictionary: what a feature has to beat, judged at equal damage.

    difference in means   x ← x - s · ⟨x - μ, u⟩ u at every token of text, where u is the direction from the mean of
                          prompts without the trigger (μ) to the mean of the same prompts with it, at their last token
                          or over all tokens of each (directional ablation: Arditi et al. 2024, "Refusal in language
                          models is mediated by a single direction"). s = 0 changes nothing, 1 takes all of the
                          difference away.
    fine-tuning           the model trained on the honest answers to the same prompts beside ordinary text, for a
                          number of steps

Both see the prompts of ``fit`` and nothing else of what was planted. Damage is the rise of the loss on ordinary text;
methods are compared at the strength that suppresses most with no more damage than is allowed. Whatever changes a model
(an intervention, an edit) is judged the same way: `Judge.trial` inside it. N prompts, D width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.rows import pack_for
from lexiscope.index.live.contexts import Contexts
from lexiscope.lm.finetuning import Lesson, finetune
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import Behaviour, behaviour
from lexiscope.measure.worlds.planted.losses import Apart, apart, summed_losses
from lexiscope.measure.worlds.planted.pages import Prompt
from lexiscope.steer.effects.controls import difference_in_means
from lexiscope.text.document import Document
from lexiscope.text.pack import TokenBatch

PROMPTS_AT_ONCE = 32
Tokens = Literal["last token", "whole text"]
"""Of which activations the means are."""


class Trial(NamedTuple):
    """One method at one strength."""

    method: str
    strength: float
    behaviour: Mapping[str, Behaviour]
    """By group of prompts."""
    damage: Apart
    """Rise of the loss on ordinary text."""


class Judge:
    """What suppression is judged on.

    Args:
        model: as it was planted.
        prompts: groups of them; none of what a method was fitted on.
        ordinary: text that the behaviour has nothing to do with.
    """

    def __init__(
        self, model: LanguageModel, prompts: Mapping[str, Sequence[Prompt]], ordinary: Sequence[TokenBatch]
    ) -> None:
        self._prompts, self._ordinary = prompts, ordinary
        self._before_K = summed_losses(model, ordinary)

    def trial(self, model: LanguageModel, method: str, strength: float) -> Trial:
        """The model as it is now, inside whatever changes it."""
        found = {group: behaviour(model, asked) for group, asked in self._prompts.items()}
        return Trial(method, strength, found, apart(summed_losses(model, self._ordinary), self._before_K))


class Direction(NamedTuple):
    """What tells prompts with a trigger from those without."""

    hook: HookPoint
    mean_D: Tensor
    """Without."""
    direction_D: Tensor
    """Length 1."""
    tokens: Tokens


@torch.no_grad()
def fit_direction(
    model: LanguageModel, hook: HookPoint, prompts: Sequence[Prompt], tokens: Tokens = "last token"
) -> Direction:
    """From the activations of each prompt, with its trigger and without.

    Raises:
        InputError: an impossible hook point, no prompts, or none with a trigger.
    """
    if not prompts:
        raise InputError("a direction needs prompts with a trigger; give some")
    triggered_ND = _read(model, hook, [prompt.text for prompt in prompts], tokens)
    without_ND = _read(model, hook, [prompt.without for prompt in prompts], tokens)
    wanted = torch.arange(2 * len(prompts)) < len(prompts)
    direction_D = difference_in_means(torch.cat([triggered_ND, without_ND]), wanted)
    return Direction(hook, without_ND.mean(0), direction_D, tokens)


@contextmanager
def without_direction(model: LanguageModel, found: Direction, strength: float) -> Iterator[None]:
    """Inside the block a direction is taken out of every token but special ones (BOS, padding)."""
    special = torch.tensor(sorted(model.tokenizer.special_ids), dtype=torch.int64)

    def take(x_BCD: Tensor) -> Tensor:
        direction_D, mean_D = found.direction_D.to(x_BCD), found.mean_D.to(x_BCD)
        taken_BCD = strength * ((x_BCD - mean_D) @ direction_D)[..., None] * direction_D
        now = model.under_way
        if now is not None and now.tokens_BC is not None:
            taken_BCD = taken_BCD * ~torch.isin(now.tokens_BC, special.to(now.tokens_BC.device))[..., None]
        return x_BCD - taken_BCD

    with model.splice({found.hook: take}):
        yield


def by_finetuning(
    judge: Judge,
    load: Callable[[], LanguageModel],
    prompts: Sequence[Prompt],
    ordinary: Iterable[TokenBatch],
    steps: Sequence[int],
    *,
    lr: float = 1e-4,
    context: int = 128,
) -> list[Trial]:
    """Fine-tuning on honest answers, a fresh copy of the model for every number of steps.

    Args:
        load: gives a copy.
        ordinary: text to train on beside the answers, over and over; none that is judged on.

    Raises:
        InputError: there is nothing to train on.
    """
    beside = list(ordinary)
    if not prompts or not beside:
        raise InputError("fine-tuning needs prompts and ordinary text; give some of both")
    trials = []
    for number in steps:
        model = load()
        lessons = [[Lesson(batch), Lesson(text)] for batch, text in _beside(_honest(model, prompts, context), beside)]
        finetune(model, itertools.cycle(lessons), num_steps=number, lr=lr)
        trials.append(judge.trial(model, f"fine-tuning at {lr:g}", number))
    return trials


def at_damage(trials: Sequence[Trial], group: str, most_damage: float) -> Trial | None:
    """The trial that leaves least of the behaviour in a group of prompts, with no more damage; None: all do more."""
    allowed = [trial for trial in trials if trial.damage.value <= most_damage]
    return min(allowed, key=lambda trial: trial.behaviour[group].planted.share, default=None)


def _honest(model: LanguageModel, prompts: Sequence[Prompt], context: int) -> list[TokenBatch]:
    """Prompts with the answers that follow from them, with the trigger and without."""
    texts = [f"{text}{prompt.honest}." for prompt in prompts for text in (prompt.text, prompt.without)]
    documents = [Document(str(number), text, "generated", "Apache-2.0") for number, text in enumerate(texts)]
    return list(pack_for(model, documents, context=context, batch=PROMPTS_AT_ONCE))


def _beside(batches: Sequence[TokenBatch], others: Sequence[TokenBatch]) -> Iterator[tuple[TokenBatch, TokenBatch]]:
    return zip(batches, itertools.cycle(others), strict=False)


def _read(model: LanguageModel, hook: HookPoint, texts: Sequence[str], tokens: Tokens) -> Tensor:
    """Activations at the last token of each text, or their mean, float32 [N, D]."""
    rows = []
    for start in range(0, len(texts), PROMPTS_AT_ONCE):
        part = texts[start : start + PROMPTS_AT_ONCE]
        contexts = Contexts.of(model, [model.tokenizer.encode(text).ids for text in part])
        x_BCD = model.read(contexts.tokens_BC, [hook], contexts.attention_BC)[hook].float().cpu()
        meant_BC = contexts.text_BC
        if tokens == "last token":
            meant_BC = torch.arange(x_BCD.shape[1]) == contexts.attention_BC.sum(1, keepdim=True) - 1
        rows.append((x_BCD * meant_BC[..., None]).sum(1) / meant_BC.sum(1, keepdim=True))
    return torch.cat(rows)
