"""Choice: which label of a feature to show.

The newest that somebody pinned; else the one of the best score; else the newest that a human wrote; else the newest. A
label's score is the mean of the newest score of each name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple


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


def mean_of(values: Mapping[str, float]) -> float | None:
    return math.fsum(values.values()) / len(values) if values else None
