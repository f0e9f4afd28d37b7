"""Fluency: whether what a steered model writes is still text.

    perplexity    exp of the mean loss of the continuation under the model when it is left alone
    distinct n    share of the n-grams of a continuation that are different from one another; a loop has few

B prompts, C tokens of a prompt, N new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.changes import Mean, bootstrap
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.effects.controls import adding
from lexiscope.steer.effects.goals import Predicate, Prompts

NEW_TOKENS = 24
_LENGTHS = (1, 2, 3)


class Fluency(Record):
    """Of the continuations of some prompts."""

    perplexity: Real | None
    """None where nothing was written."""
    distinct: list[Real]
    """Of single tokens, pairs and triples."""
    met: Mean | None
    """How far the continuations meet the predicate, if there is one."""


class Continuations(NamedTuple):
    """What was written, as tokens: those of each prompt up to the end that the model put."""

    prompts: list[list[int]]
    new: list[list[int]]


def write(
    model: LanguageModel,
    hook: HookPoint,
    prompts: Prompts,
    vectors: Tensor | None = None,
    *,
    new_tokens: int = NEW_TOKENS,
    seed: int = 0,
) -> Continuations:
    """Sample on from each prompt at temperature 1, with a vector added or not.

    Prompts of one length are written together; the same ``seed`` draws the same random numbers with and without a
    vector.
    """
    contexts = prompts.contexts
    lengths_B = contexts.attention_BC.sum(1)
    written: list[list[int]] = [[] for _ in lengths_B]
    texts = [tokens_C[: int(length)].tolist() for tokens_C, length in zip(contexts.tokens_BC, lengths_B, strict=True)]
    for length in sorted(set(lengths_B.tolist())):
        rows = (lengths_B == length).nonzero()[:, 0]
        tokens_BC = contexts.tokens_BC[rows, :length]
        if vectors is None:
            new_BN = model.generate_tokens(tokens_BC, max_new_tokens=new_tokens, temperature=1.0, seed=seed)
        else:
            of_rows = vectors[rows] if vectors.ndim == 2 and len(vectors) > 1 else vectors
            with adding(model, hook, of_rows):
                new_BN = model.generate_tokens(tokens_BC, max_new_tokens=new_tokens, temperature=1.0, seed=seed)
        for row, new in zip(rows.tolist(), new_BN.tolist(), strict=True):
            special = (place for place, token in enumerate(new) if token in model.tokenizer.special_ids)
            written[row] = new[: next(special, len(new))]
    return Continuations([text[contexts.lead :] for text in texts], written)


def judge(
    model: LanguageModel, written: Continuations, predicate: Predicate | None = None, *, seed: int = 0
) -> Fluency:
    """How fluent continuations are by the model that is not steered, and whether they meet a predicate."""
    return Fluency(
        perplexity=_perplexity(model, written),
        distinct=[distinct(written.new, length) for length in _LENGTHS],
        met=None if predicate is None else bootstrap(met(model, written, predicate), seed),
    )


def met(model: LanguageModel, written: Continuations, predicate: Predicate) -> list[float]:
    """What a predicate says of each continuation."""
    values = []
    for prompt, new in zip(written.prompts, written.new, strict=True):
        text = model.tokenizer.decode(prompt)
        values.append(predicate.judge(text, model.tokenizer.decode([*prompt, *new])[len(text) :]))
    return values


def examples(model: LanguageModel, written: Continuations, predicate: Predicate) -> tuple[list[str], list[str]]:
    """Continuations that meet a predicate and those that do not, each with its prompt.

    A predicate has no gradient; the likelihood of these examples has (`lexiscope.steer.effects.goals.pairs`).

    Raises:
        InputError: all of them do, or none.
    """
    values = met(model, written, predicate)
    middle = (max(values) + min(values)) / 2
    sides: tuple[list[str], list[str]] = ([], [])
    for prompt, new, value in zip(written.prompts, written.new, values, strict=True):
        sides[value <= middle].append(model.tokenizer.decode([*prompt, *new]))
    if not all(sides):
        raise InputError(
            f"{len(values)} continuations say the same of {predicate.name!r}; give more prompts, or such as may go "
            "either way"
        )
    return sides


def distinct(texts: Sequence[Sequence[int]], length: int) -> float:
    """Mean share of different n-grams among those of a text; 1 for texts too short to have any."""
    shares = []
    for text in texts:
        grams = [tuple(text[start : start + length]) for start in range(len(text) - length + 1)]
        shares.append(len(set(grams)) / len(grams) if grams else 1.0)
    return sum(shares) / max(len(shares), 1)


@torch.no_grad()
def _perplexity(model: LanguageModel, written: Continuations) -> float | None:
    rows = [row for row, new in enumerate(written.new) if new]
    if not rows:
        return None
    prompts = Prompts.of(model, [[*written.prompts[row], *written.new[row]] for row in rows])
    contexts = prompts.contexts
    places_C = torch.arange(contexts.tokens_BC.shape[1])[None]
    first_B = torch.tensor([contexts.lead + len(written.prompts[row]) for row in rows])
    new_BC = contexts.attention_BC & (places_C >= first_B[:, None])
    log_p_BCV = model.logits(contexts.tokens_BC, contexts.attention_BC)[:, :-1].float().log_softmax(-1).cpu()
    log_p_BC = log_p_BCV.gather(-1, contexts.tokens_BC[:, 1:, None])[..., 0]
    return float((-log_p_BC[new_BC[:, 1:]].mean()).exp())
