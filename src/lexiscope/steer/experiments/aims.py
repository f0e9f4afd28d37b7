"""Aims: goals as somebody gives them, with the text that each is chosen and judged on and what a feature has to beat.

Token strings, a concept of the bank, or texts that are wanted and others that are not.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError
from lexiscope.core.seeds import generator
from lexiscope.measure.concepts import BANK
from lexiscope.measure.concepts.concept import Concept
from lexiscope.measure.concepts.labels import label
from lexiscope.steer.effects.goals import Goal, Lexicon, Predicate, TokenSet, lexical
from lexiscope.steer.effects.trial import Material
from lexiscope.steer.experiments.excerpts import Excerpt
from lexiscope.text.tokenizer import Tokenizer

LEAST_EXAMPLES = 4
"""Of each kind: two for choosing and two for judging, the least that has an interval."""


NAMED = 4
"""Tokens in the name of a goal."""


class Aim(NamedTuple):
    """A goal with everything that it is tried on."""

    goal: Goal
    selection: Material
    heldout: Material
    difference_D: Tensor | None
    """Difference in means, from text for choosing; None where what is wanted does not occur there."""
    prefix: list[int]
    """Tokens that show what is wanted: where it occurs most in text for choosing."""
    predicate: Predicate | None
    """Judges what is written."""
    coverage: float | None = None
    """Of a concept: the share of its occurrences in text for choosing that the tokens of the goal are."""


def token_set(tokenizer: Tokenizer, strings: Sequence[str]) -> TokenSet:
    """A goal from tokens as they are written, white space included.

    Raises:
        InputError: there is none, or one is not a single token.
    """
    weights: dict[int, float] = {}
    for text in strings:
        ids = tokenizer.encode(text).ids
        if len(ids) != 1:
            pieces = " + ".join(repr(tokenizer.decode([token])) for token in ids[:6]) or "nothing"
            raise InputError(
                f"{quoted(text)} is not one token of this model but {len(ids)} ({pieces}); give single tokens, "
                "white space included"
            )
        weights[ids[0]] = 1.0
    named = " or ".join(repr(text) for text in strings[:NAMED])
    return TokenSet(named + (f" or {len(strings) - NAMED} others" if len(strings) > NAMED else ""), weights)


def concept_named(name: str) -> Concept:
    """A concept of the bank.

    Raises:
        InputError: none has this name; the message says which are near.
    """
    by_name = {concept.name: concept for concept in BANK}
    if name not in by_name:
        within = [other for other in by_name if name.strip() and name.strip().lower() in other.lower()]
        near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
        some = ", ".join(dict.fromkeys([*near, *within][:5])) or f"{BANK[0].name} and {len(BANK) - 1} others"
        raise InputError(f"no concept of the bank is called {quoted(name)}; there are {some}")
    return by_name[name]


class Told(NamedTuple):
    """A concept by the tokens that tell it, and where it stands in the excerpts."""

    lexicon: Lexicon
    positive: list[NDArray[np.bool_]]
    """Of every excerpt."""


def told_by_tokens(concept: Concept, excerpts: Sequence[Excerpt]) -> Told:
    """The goal that a concept is.

    Raises:
        InputError: it does not occur there, or no token tells it.
    """
    labels = [label(each.document, np.array(each.starts), np.array(each.ends), [concept]) for each in excerpts]
    positive_1T, judged_1T = (np.concatenate([each[part] for each in labels], 1) for part in (0, 1))
    tokens_T = torch.tensor([token for each in excerpts for token in each.ids])
    lexicon = lexical(concept.name, tokens_T, positive_1T[0], judged_1T[0]) if positive_1T.any() else None
    if lexicon is None:
        raise InputError(
            f"no token tells the concept {concept.name!r} ({int(positive_1T.sum())} of {len(tokens_T):,} tokens of the "
            "text have it); give another concept, or tokens, or examples"
        )
    return Told(lexicon, [positive_1T[0] for positive_1T, _ in labels])


def prefix_of(excerpts: Sequence[Excerpt], wanted: Sequence[NDArray[np.bool_]], length: int) -> list[int]:
    """The stretch of text in which most tokens have what is wanted; none where none has."""
    best: tuple[int, list[int]] = (0, [])
    for each, wanted_T in zip(excerpts, wanted, strict=True):
        if len(each.ids) >= length:
            counts = np.convolve(wanted_T, np.ones(length, int), "valid")
            start = int(counts.argmax())
            best = max(best, (int(counts[start]), each.ids[start : start + length]), key=lambda found: found[0])
    return best[1]


def check_examples(wanted: Sequence[str], unwanted: Sequence[str]) -> None:
    """Raises InputError: too few texts of a kind, or one that is of both."""
    for texts, what in ((wanted, "wanted"), (unwanted, "unwanted")):
        if (different := len(set(texts))) < LEAST_EXAMPLES:
            raise InputError(
                f"there are {different} different {what} texts; give at least {LEAST_EXAMPLES}, half of which is for "
                "choosing and half for judging"
            )
    if both := set(wanted) & set(unwanted):
        raise InputError(f"{quoted(min(both))} is both wanted and unwanted; leave it out of one of the two")


def split_examples(texts: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Half for choosing, half for judging, at random; a text that is there twice counts once.

    Lists of as many texts are split alike, so that the n-th of one stays beside the n-th of the other.
    """
    different = list(dict.fromkeys(texts))
    order = torch.randperm(len(different), generator=generator(seed, "examples")).tolist()
    middle = len(different) // 2
    chosen, judged = ([different[place] for place in part] for part in (order[:middle], order[middle:]))
    return chosen, judged
