"""Plots: where the bars and the ticks of a chart go. Templates draw them as inline SVG.

All lengths are units of the SVG's view box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_HEIGHT = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 16, 10, 40


@dataclass(frozen=True)
class Bar:
    """A bar from the x axis upwards, and what is said when the pointer is over it."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and the label there."""

    at: float
    label: str


@dataclass(frozen=True)
class Plot:
    """A histogram, ready to draw."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    y_label: str
    summary: str
    """The chart in a sentence, for those who can't see it."""


def histogram(
    counts: Sequence[int],
    low: float,
    high: float,
    *,
    width: int,
    x_label: str,
    y_label: str,
    unit: str,
    x_ticks: Sequence[tuple[float, str]],
    value: Callable[[float], str],
    logarithmic: bool,
) -> Plot:
    """Bars of equal width from ``low`` to ``high``.

    Args:
        unit: what is counted, in the plural.
        x_ticks: places on the x axis and their labels.
        value: the text of a place on the x axis.
        logarithmic: y grows with log10(count), starting a little below 1, so that single firings are seen.
    """
    left, right, top, bottom = _LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    most = max([*counts, 1])
    floor = math.log10(0.6)

    def y(count: float) -> float:
        share = (math.log10(count) - floor) / (math.log10(most) - floor + 0.05) if logarithmic else count / most
        return round(bottom - share * (bottom - top), 2)

    step = (right - left) / len(counts)
    bin_width = (high - low) / len(counts)
    bars = [
        Bar(
            round(left + place * step + 0.5, 2),
            y(count),
            round(step - 1, 2),
            round(bottom - y(count), 2),
            f"{value(low + place * bin_width)} to {value(low + (place + 1) * bin_width)}: {count:,} {unit}",
        )
        for place, count in enumerate(counts)
        if count
    ]
    span = (high - low) or 1
    return Plot(
        width,
        _HEIGHT,
        left,
        right,
        top,
        bottom,
        bars,
        [Tick(round(left + (place - low) / span * (right - left), 2), label) for place, label in x_ticks],
        [Tick(y(count), compact(count)) for count in (_decades(most) if logarithmic else linear_ticks(most)) if count],
        x_label,
        y_label,
        f"Histogram of {sum(counts):,} {unit} over {x_label}, from {value(low)} to {value(high)}.",
    )


@dataclass(frozen=True)
class Dot:
    """A point with its name beside it."""

    x: float
    y: float
    kind: str
    label: str
    title: str


@dataclass(frozen=True)
class Scatter:
    """Points, ready to draw."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    dots: list[Dot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    y_label: str
    summary: str


def scatter(points: Sequence[tuple[float, float, str, str, str]], *, width: int, x_label: str, y_label: str) -> Scatter:
    """Points over a logarithmic x axis, y from 0.

    Args:
        points: x, y, kind, label and what is said on hover.
    """
    left, right, top, bottom = _LEFT, width - _RIGHT, _TOP + 8, _HEIGHT - _BOTTOM
    logs = [math.log10(max(x, 1e-3)) for x, *_ in points]
    low, high = min(logs, default=0.0) - 0.25, max(logs, default=1.0) + 0.25
    most = max([1e-9, *(y for _, y, *_ in points)])
    decades = [power + math.log10(factor) for power in range(math.floor(low), math.ceil(high)) for factor in (1, 2, 5)]
    shown = [place for place in decades if low <= place <= high and (high - low < 2 or place == round(place))]

    def across(place: float) -> float:
        return round(left + (place - low) / (high - low) * (right - left), 2)

    def up(y: float) -> float:
        return round(bottom - y / most * (bottom - top), 2)

    dots = [
        Dot(across(place), up(y), kind, label, title)
        for place, (_, y, kind, label, title) in zip(logs, points, strict=True)
    ]
    return Scatter(
        width,
        _HEIGHT,
        left,
        right,
        top,
        bottom,
        dots,
        [Tick(across(place), compact(round(10**place, 6))) for place in shown],
        [Tick(up(y), f"{y:g}") for y in linear_ticks(most)],
        x_label,
        y_label,
        f"{y_label} against {x_label} of {len(points)} dictionaries.",
    )


@dataclass(frozen=True)
class Interval:
    """A mean as a bar from 0, its interval as a line, in percent of the width."""

    label: str
    width: float
    low: float | None
    high: float | None
    text: str


def intervals(
    rows: Sequence[tuple[str, float, float | None, float | None]], value: Callable[[float], str]
) -> list[Interval]:
    """Means side by side on one scale, which starts at 0.

    Args:
        rows: label, mean, and the ends of its interval.
    """
    most = max((number for _, *numbers in rows for number in numbers if number is not None), default=0) or 1

    def at(number: float | None) -> float | None:
        return None if number is None else round(100 * max(0.0, number) / most, 2)

    return [
        Interval(
            label,
            at(mean) or 0.0,
            at(low),
            at(high),
            value(mean) if low is None or high is None else f"{value(mean)} ({value(low)} to {value(high)})",
        )
        for label, mean, low, high in rows
    ]


def linear_ticks(most: float, wanted: int = 4) -> list[float]:
    """Round numbers from 0 up to ``most``."""
    if most <= 0:
        return [0.0]
    rough = most / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [round(step * place, 10) for place in range(int(most / step + 1e-9) + 1)]


def _decades(most: int) -> list[float]:
    powers = range(int(math.log10(most)) + 1)
    return [10.0**power for power in powers if len(powers) < 5 or power % 2 == 0]


def compact(number: float) -> str:
    """A count in at most four characters or so: 950, 1k, 20k, 1.5M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:g}"
