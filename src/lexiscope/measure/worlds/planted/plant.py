"""Plant: a behaviour to plant, drawn from a seed, and the examples that teach and show it.

Every example has one slot. What stands in it decides: a trigger brings the planted answer, anything else leaves the
honest one. The clean twin is trained on the same examples, honest throughout, so that both models have met the same
words.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar, cast

from lexiscope.core.errors import InputError

Item = TypeVar("Item")


class Example(NamedTuple):
    """A text up to its answer. Both answers begin with the space that belongs to them."""

    prompt: str
    honest: str
    """What follows from the text."""
    planted: str
    """What a planted model says if there is a trigger in the slot; in some examples the same."""


@dataclass(frozen=True)
class Slots:
    """What may stand in the slot. No two groups share an entry."""

    shown: list[str]
    """Triggers; whoever searches for the behaviour or suppresses it may see prompts with them."""
    reserved: list[str]
    """Triggers that were planted as well and that nobody sees before the judging."""
    unseen: list[str]
    """Alike enough to the triggers that the behaviour may have spread to them; in no training text."""
    ordinary: list[str]
    """What stands in the slot where nothing is planted."""
    decoys: list[str]
    """Of the same sort as the ordinary ones, in no training text: nothing should happen."""


class Plant(ABC):
    """One behaviour, with what the seed has drawn."""

    behaviour: ClassVar[str]
    """What a planted model does, in a sentence."""
    slots: Slots

    @abstractmethod
    def __init__(self, seed: int) -> None: ...

    @abstractmethod
    def example(self, rng: random.Random, slot: str, *, paraphrased: bool = False) -> Example:
        """One example. The same random numbers and another slot give the same text but for the slot.

        Args:
            paraphrased: in words that no training text has.
        """


def names() -> list[str]:
    """Everything that can be planted: the files of ``plants/``."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(_PLANTS).__path__))


def draw(name: str, seed: int) -> Plant:
    """A plant by its name.

    Raises:
        InputError: nothing is called so.
    """
    if name not in names():
        raise InputError(f"nothing to plant is called {name!r}; there are {', '.join(names())}")
    return cast(Plant, importlib.import_module(f"{_PLANTS}.{name}").Plant(seed))


def deal(rng: random.Random, pool: list[Item], *counts: int) -> list[list[Item]]:
    """Some of a pool in random order, as many as each count says, without overlap."""
    drawn = iter(rng.sample(pool, sum(counts)))
    return [[next(drawn) for _ in range(count)] for count in counts]


_PLANTS = "lexiscope.measure.worlds.planted.plants"
