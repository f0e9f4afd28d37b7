"""Source: where documents come from. One file in this folder per kind of source; they do not import each other."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from lexiscope.core.seeds import derive_seed
from lexiscope.text.document import Document
from lexiscope.text.report import ReadReport

Item = TypeVar("Item")


class Source(Protocol):
    """A stream of documents, the same for the same seed.

    Attributes:
        endless: the stream never stops by itself (generators).
    """

    endless: bool

    def documents(self, seed: int, report: ReadReport) -> Iterator[Document]:
        """Documents in seeded order. What can't be read is counted in ``report.skipped``; the rest is read lazily."""
        ...

    def revision(self) -> str:
        """Which edition of the text this is, as far as it can be told without reading it."""
        ...


def shuffled(items: Iterable[Item], seed: int, *names: str) -> list[Item]:
    """The items in an order that only (seed, names) decide."""
    order = list(items)
    random.Random(derive_seed(seed, *names)).shuffle(order)
    return order
