"""ReadReport: what a corpus gave and what it left out, counted while it is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ReadReport:
    """Counts of one pass over a corpus.

    Attributes:
        documents: given to the reader.
        characters: Unicode code points in them.
        skipped: reason → number of documents, records or files left out for it.
        split: number of documents that were too long and were given in pieces.
    """

    documents: int = 0
    characters: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    split: int = 0

    def skip(self, reason: str) -> None:
        self.skipped[reason] += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "characters": self.characters,
            "skipped": dict(sorted(self.skipped.items())),
            "split": self.split,
        }
