"""The parts of a scorecard, as they are in its JSON."""

from __future__ import annotations

from lexiscope.core.config import Config
from lexiscope.measure.metric import Better


class Score(Config):
    """One number. None where it has no meaning."""

    value: float | None
    low: float | None = None
    high: float | None = None
    """95 % interval, redrawing documents; none for metrics that are no mean over documents."""


class MetricScores(Config):
    """One metric for every dictionary."""

    unit: str
    better: Better
    scores: dict[str, Score]
    """By name of the dictionary."""


class Losses(Config):
    """Mean next-token loss in nats on the text that loss metrics are measured on."""

    clean: float
    mean_ablation: float
    zero_ablation: float


class Amount(Config):
    """What was measured on."""

    tokens: int
    documents: int


class Histogram(Config):
    """Counts between edges, one edge more than counts."""

    edges: list[float]
    counts: list[int]


class Row(Config):
    """One line of the table."""

    name: str
    unit: str
    better: Better
    scores: dict[str, Score]
