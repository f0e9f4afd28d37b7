"""Curves: means against a number with the bands of their intervals, where everything goes in an SVG of a view box.

Both axes may be bent, since doses double and costs explode; ticks say what stands where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lexiscope.web.drawing.plots import Tick

_HEIGHT = 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 22, 40
_APART = 17
"""Units between two ticks of the y axis."""
_A_LETTER = 6.5

Bend = Callable[[float], float]


class Place(NamedTuple):
    """A mean at some x; without ends it has no interval."""

    x: float
    mean: float
    low: float | None
    high: float | None
    title: str


class Series(NamedTuple):
    """What one thing does at every x. ``kind`` is the class that colours it."""

    kind: str
    label: str
    places: Sequence[Place]


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Curve:
    """A line with dots; ``band`` is empty without intervals."""

    kind: str
    label: str
    line: str
    band: str
    dots: list[Dot]


@dataclass(frozen=True)
class Chart:
    """Curves, ready to draw."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    upright: Tick | None
    """A line from below to above, with a name."""
    level: Tick | None
    """A line from left to right, with a name."""
    zero: float
    """Where y is 0."""
    middle: float
    """Where x is 0, or the end that is nearer to it: what has a name beside a level has it there."""
    x_label: str
    y_label: str
    summary: str


def chart(
    series: Sequence[Series],
    *,
    width: int,
    x_label: str,
    y_label: str,
    summary: str,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Callable[[float, float], Iterable[tuple[float, str]]],
    upright: tuple[float, str] | None = None,
    level: tuple[float, str] | None = None,
    bend_x: Bend = lambda x: x,
    bend_y: Bend = lambda y: y,
    most_y: float = float("inf"),
) -> Chart:
    """Lay curves out.

    Args:
        y_ticks: round numbers between two, with their labels.
        bend_x: rising; ticks and places go through it.
        most_y: what lies above is drawn at the upper edge.
    """
    left, right, top, bottom = _LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    places = [place for one in series for place in one.places]
    ys = [y for place in places for y in (place.mean, place.low, place.high) if y is not None]
    low_y, high_y = _ends([min(y, most_y) for y in [*ys, 0.0, *([level[0]] if level else [])]])
    first_x, last_x = _ends([place.x for place in places])
    low_x, high_x = bend_x(first_x), bend_x(last_x)
    low_y, high_y = bend_y(low_y), bend_y(high_y)

    def across(x: float) -> float:
        return round(left + 8 + (bend_x(x) - low_x) / (high_x - low_x) * (right - left - 16), 1)

    def up(y: float) -> float:
        share = (bend_y(min(y, most_y)) - low_y) / (high_y - low_y)
        return round(bottom - 4 - share * (bottom - top - 4), 1)

    def curve(one: Series) -> Curve:
        points = sorted(one.places, key=lambda place: place.x)
        line = " ".join(f"{across(point.x)},{up(point.mean)}" for point in points)
        sure = [point for point in points if point.low is not None and point.high is not None]
        there = [f"{across(point.x)},{up(point.high or 0.0)}" for point in sure]
        back = [f"{across(point.x)},{up(point.low or 0.0)}" for point in reversed(sure)]
        dots = [Dot(across(point.x), up(point.mean), point.title) for point in points]
        return Curve(one.kind, one.label, line, " ".join([*there, *back]), dots)

    def tick(found: tuple[float, str] | None, where: Callable[[float], float]) -> Tick | None:
        return None if found is None else Tick(where(found[0]), found[1])

    lowest, highest = min([0.0, *ys]), min(max([0.0, *ys]), most_y)
    return Chart(
        width, _HEIGHT, left, right, top, bottom,
        [curve(one) for one in series],
        _thinned([Tick(across(x), label) for x, label in sorted(x_ticks)]),
        _apart([Tick(up(y), label) for y, label in y_ticks(lowest, highest)]),
        tick(upright, across), tick(level, up), up(0.0), across(min(max(0.0, first_x), last_x)),
        x_label, y_label, summary,
    )  # fmt: skip


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _thinned(ticks: Sequence[Tick]) -> list[Tick]:
    """Those whose labels have room, from the left."""
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or tick.at - kept[-1].at > _A_LETTER * (len(tick.label) + len(kept[-1].label)) / 2 + 4:
            kept.append(tick)
    return kept


def _apart(ticks: Sequence[Tick]) -> list[Tick]:
    """Those that do not lie on one another; the earlier ones first."""
    kept: list[Tick] = []
    for tick in ticks:
        if all(abs(tick.at - other.at) >= _APART for other in kept):
            kept.append(tick)
    return kept
