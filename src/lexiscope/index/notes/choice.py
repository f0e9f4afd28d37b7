"""Choice: which label of a feature to show.

The newest that somebody pinned; else the one of the best score; else the newest that a human wrote; else the newest. A
label's score is the mean of the newest score of each name.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from lexiscope.index.notes.table import as_list
from lexiscope.index.notes.words import file_away, take_out


class Known(NamedTuple):
    """A label that is there, or about to be: what the choice goes by."""

    id: int
    feature: int
    text: str
    source: int
    created_at: int
    score: float | None
    live: bool
    human: bool
    chosen: bool = False


def winners_of(labels: Iterable[Known], pins: Mapping[int, int]) -> dict[int, int]:
    """Feature → the label to show."""
    best: dict[int, tuple[tuple[float, ...], int]] = {}
    for label in labels:
        if label.live:
            key = (
                pins.get(label.feature) == label.id,
                label.score is not None,
                label.score or 0.0,
                label.human,
                label.created_at,
                label.id,
            )
            if label.feature not in best or key > best[label.feature][0]:
                best[label.feature] = key, label.id
    return {feature: label for feature, (_, label) in best.items()}


def known_labels(tx: sqlite3.Connection, features: Iterable[int]) -> list[Known]:
    """Every label of some features, also those that have ended."""
    rows = tx.execute(
        "SELECT t.id, t.feature, t.text, t.source, t.created_at, t.score, t.ended_at IS NULL, s.kind = 'human', "
        "t.chosen FROM labels AS t JOIN sources AS s ON s.id = t.source "
        "WHERE t.feature IN (SELECT value FROM json_each(?))",
        [as_list(features)],
    )
    known = [Known(*row) for row in rows]
    if not all(_is_typed(label) for label in known):
        raise sqlite3.DatabaseError("labels: a value of another type")
    return known


def _is_typed(label: Known) -> bool:
    """Whether what a file says is what it should be, as far as the choice needs it."""
    numbers = (label.feature, label.source, label.created_at, label.live, label.human, label.chosen)
    return all(type(number) is int for number in numbers) and (
        isinstance(label.text, str) and isinstance(label.score, float | None)
    )


def show(tx: sqlite3.Connection, known: Iterable[Known], winners: Container[int]) -> None:
    """Note for labels that are there whether they are the ones to show."""
    changed = [label.id for label in known if label.live and bool(label.chosen) != (label.id in winners)]
    if changed:
        take_out(tx, "labels", changed)
        tx.execute(
            "UPDATE labels SET chosen = 1 - chosen WHERE id IN (SELECT value FROM json_each(?))", [as_list(changed)]
        )
        file_away(tx, "labels", changed)


def mean_of(values: Mapping[str, float]) -> float | None:
    return math.fsum(values.values()) / len(values) if values else None
