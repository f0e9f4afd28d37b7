"""Pairs: two prompts that a hypothesis tells apart, and what the model should write after each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field, ValidationError

from lexiscope.core.config import Config, quoted
from lexiscope.core.errors import InputError
from lexiscope.index.live.contexts import tokens_of
from lexiscope.lm.model import LanguageModel

LEAST_PAIRS = 8
"""With fewer, an interval over pairs says nothing."""


class Pair(Config):
    """Two prompts, and what follows each. Answers begin with white space where the model's tokens do."""

    prompt: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    other_prompt: str = Field(min_length=1)
    other_answer: str = Field(min_length=1)


def read_pairs(lines: Sequence[str], where: str) -> list[Pair]:
    """Pairs from JSON lines.

    Raises:
        InputError: a line is no pair; ``where`` and its number say which.
    """
    pairs = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                pairs.append(Pair.model_validate_json(line))
            except ValidationError:
                raise InputError(
                    f"{where}, line {number} is no pair; write JSON with prompt, answer, other_prompt and other_answer"
                ) from None
    return pairs


def check_pairs(pairs: Sequence[Pair], chosen_on: Sequence[Pair] = ()) -> None:
    """Raises InputError: too few pairs, one that is there twice, or one on which the feature was chosen."""
    if repeated := [pair for pair, count in Counter(map(_prompts, pairs)).items() if count > 1]:
        raise InputError(
            f"the pair of {quoted(min(repeated[0]))} and {quoted(max(repeated[0]))} is there twice, which would make "
            "the interval too narrow; give each once"
        )
    if len(pairs) < LEAST_PAIRS:
        raise InputError(f"there are {len(pairs)} pairs; give at least {LEAST_PAIRS}, so that there is an interval")
    if seen := set(map(_prompts, chosen_on)) & set(map(_prompts, pairs)):
        raise InputError(f"the feature was chosen on {quoted(min(map(min, seen)))}; confirm it on other pairs")


def _prompts(pair: Pair) -> frozenset[str]:
    """Of a pair, whichever comes first."""
    return frozenset((pair.prompt, pair.other_prompt))


def first_tokens(model: LanguageModel, pair: Pair) -> tuple[int, int]:
    """The first tokens of the two answers.

    Raises:
        InputError: they are the same.
    """
    first, other = (tokens_of(model.tokenizer, text).ids[0] for text in (pair.answer, pair.other_answer))
    if first == other:
        raise InputError(
            f"the answers {pair.answer!r} and {pair.other_answer!r} begin with the same token; give answers that "
            "differ from the start"
        )
    return first, other
