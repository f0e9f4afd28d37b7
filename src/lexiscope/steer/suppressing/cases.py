"""Cases: prompts that bring an answer that is not wanted. By some what to turn is found, by others it is judged.

A line of a file is JSON with ``text``, ``without`` (the same prompt without what brings the answer), ``honest`` and
``planted`` (the two answers, of which the second is not wanted), and perhaps ``slot`` (what brings it). With several
slots half of them are for judging, so that what is found has to hold for triggers that it was not found on; else half
of the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import torch
from pydantic import Field, ValidationError

from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.core.seeds import generator
from lexiscope.harvest.rows import pack_for
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.pages import GROUPS, Prompt
from lexiscope.measure.worlds.planted.pair import PlantedPair
from lexiscope.steer.experiments.excerpts import Side, Source
from lexiscope.text.pack import TokenBatch

LEAST = 4
"""Cases: two to find by and two to judge by."""
CONTEXT = 128
"""Tokens of a context of ordinary text."""


class Case(Config):
    """A line of a file."""

    text: str = Field(min_length=1)
    without: str = Field(min_length=1)
    honest: str = Field(min_length=1)
    planted: str = Field(min_length=1)
    slot: str = ""


class Cases(NamedTuple):
    """Prompts on two sides."""

    fit: list[Prompt]
    judged: dict[str, list[Prompt]]
    """By group; what is to be suppressed first."""

    @property
    def keep(self) -> list[Prompt]:
        """What has to be answered as before while something is searched for, one for each."""
        return [prompt._replace(text=prompt.without) for prompt in self.fit]


def of_pair(pair: PlantedPair) -> Cases:
    """The prompts of a planted pair, by its groups."""
    groups = {group: pair.prompts(group) for group in GROUPS}
    return Cases(groups["fit"], {group: found for group, found in groups.items() if found and group != "fit"})


def read_cases(lines: Sequence[str], where: str, seed: int = 0) -> Cases:
    """From JSON Lines.

    Raises:
        InputError: a line is no case, or there are too few.
    """
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            case = Case.model_validate_json(line)
        except ValidationError:
            raise InputError(
                f"{where}, line {number} is no case; write JSON with text, without, honest and planted, perhaps slot"
            ) from None
        prompts.append(Prompt("fit", case.slot, case.text, case.without, case.honest, case.planted))
    if len(prompts) < LEAST:
        raise InputError(f"{where} has {len(prompts)} cases; give at least {LEAST}: half to find by, half to judge by")
    slots = list(dict.fromkeys(prompt.slot for prompt in prompts))
    by_slot = len(slots) > 1
    units = slots if by_slot else list(range(len(prompts)))
    order = torch.randperm(len(units), generator=generator(seed, "cases")).tolist()
    held = {units[place] for place in order[: len(units) // 2]}
    keys = [prompt.slot if by_slot else number for number, prompt in enumerate(prompts)]
    judged = [prompt for prompt, key in zip(prompts, keys, strict=True) if key in held]
    groups = {
        "other triggers" if by_slot else "other prompts": judged,
        "without it": [prompt._replace(text=prompt.without) for prompt in judged],
    }
    return Cases([prompt for prompt, key in zip(prompts, keys, strict=True) if key not in held], groups)


def ordinary(
    model: LanguageModel, source: Source, side: Side, batches: int, batch: int, seed: int = 0
) -> list[TokenBatch]:
    """Text that the behaviour has nothing to do with.

    Raises:
        InputError: there is none.
    """
    context = min(CONTEXT, model.max_context)
    found = list(islice(pack_for(model, source.documents(side, seed), context=context, batch=batch), batches))
    if not found:
        raise InputError(f"{source.corpus!r} has no {side} text; name a corpus of more documents")
    return found
