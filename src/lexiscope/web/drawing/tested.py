"""Pictures of what was tested: shares of the way with their intervals, effect and cost against the dose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lexiscope.index.live.changes import Mean
from lexiscope.steer.confirming.confirm import Confirmation, Direction, Moved, Verdict
from lexiscope.steer.effects.controls import Control
from lexiscope.steer.effects.doses import Dose, DoseResponse, Outcome
from lexiscope.steer.effects.side_effects import Rise
from lexiscope.web.drawing.curves import Chart, Place, Series, chart
from lexiscope.web.drawing.plots import linear_ticks

_WIDTH = 460
_MOST_RISE = 1.0
"""Of perplexity; what doubles it is broken, however much more it costs."""
_RISES = (0.0, 0.05, 0.2, 0.5, 1.0, -0.05, -0.2, -0.5)
KINDS: dict[Control, str] = {
    "noise": "c1",
    "random feature": "c2",
    "wrong sign": "c3",
    "difference in means": "c4",
    "difference in means at its best": "c5",
    "prompt only": "c6",
}
"""The class that colours a control."""


def verdict_kind(said: Verdict | Outcome) -> str:
    """The class that colours a verdict."""
    return {"cause": "good", "works": "good", "undecided": "open", "no better than a control": "open"}.get(said, "bad")


@dataclass(frozen=True)
class Share:
    """A share of the way as a bar from 0, its interval as a line, in percent of the width."""

    label: str
    x: float
    width: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Shares:
    """One direction: the feature, its controls and what it does beyond them, on the scale of both directions."""

    title: str
    rows: list[Share]
    zero: float
    whole: float
    """Where the whole way ends."""


def way_plots(found: Confirmation) -> list[Shares]:
    """Both directions on one scale."""
    ways: tuple[tuple[str, Direction], ...] = (
        ("Put in where it was missing", found.put_in),
        ("Taken away where it was there", found.taken_out),
    )
    ends = [end for _, way in ways for moved in _moved(way) for end in (moved.share_low, moved.share_high)]
    low, high = min(0.0, *ends), max(1.0, *ends)

    def at(share: float) -> float:
        return round(100 * (share - low) / (high - low), 2)

    def row(label: str, moved: Moved) -> Share:
        start, end = sorted((at(0.0), at(moved.share)))
        text = f"{_percent(moved.share)} ({_percent(moved.share_low)} to {_percent(moved.share_high)})"
        return Share(label, start, round(end - start, 2), at(moved.share_low), at(moved.share_high), text)

    labels = ("this feature", "another feature", "a random direction", "beyond chance")
    return [
        Shares(title, [row(label, moved) for label, moved in zip(labels, _moved(way), strict=True)], at(0.0), at(1.0))
        for title, way in ways
    ]


def _moved(way: Direction) -> tuple[Moved, ...]:
    return way.feature, way.other_feature, way.direction, way.beyond


def doses(found: DoseResponse) -> list[Dose]:
    """Every dose on held-out text by strength, the recommended one among them."""
    by_strength = {dose.strength: dose for dose in [*found.curve, *([found.judged] if found.judged else [])]}
    return [by_strength[strength] for strength in sorted(by_strength)]


def controls(found: DoseResponse) -> list[Control]:
    """Those that stand beside any dose, in one order."""
    there = {control.control for dose in doses(found) for control in dose.controls}
    return [name for name in KINDS if name in there]


def turn(found: DoseResponse, most: float) -> str:
    """The recommended dose as the page that steers is asked for it, in multiples of the largest activation there."""
    assert found.recommended is not None
    times = f"{found.recommended * found.unit / most:.4f}".rstrip("0").rstrip(".")
    return f"add:{found.feature}:{times}max"


def effect_chart(found: DoseResponse) -> Chart:
    """How much the goal changes."""
    series = [Series("own", "this feature", [_effect(dose.strength, dose.effect) for dose in doses(found)])]
    for name in controls(found):
        beside = ((dose, control) for dose in doses(found) for control in dose.controls if control.control == name)
        series.append(Series(KINDS[name], name, [_effect(dose.strength, control.effect) for dose, control in beside]))
    low, high = _range(found)
    best = "" if found.judged is None else f", {_signed(found.judged.effect.mean)} at the recommended one"
    return chart(
        _drawn(series),
        width=_WIDTH,
        x_label="strength, in multiples of its largest activation",
        y_label="change of the goal",
        summary=f"Change of the goal against strength from {low:g} to {high:g} with intervals and controls{best}.",
        x_ticks=_strengths(found),
        y_ticks=_round,
        upright=_recommended(found),
        bend_x=_root,
    )


def cost_chart(found: DoseResponse) -> Chart:
    """By how much perplexity rises on text that the goal is not about."""
    series = [Series("own", "this feature", [_rise(dose.strength, dose.perplexity) for dose in doses(found)])]
    for name in controls(found):
        beside = [
            _rise(dose.strength, control.perplexity)
            for dose in doses(found)
            for control in dose.controls
            if control.control == name and control.perplexity is not None
        ]
        if beside:
            series.append(Series(KINDS[name], name, beside))
    best = "" if found.judged is None else f", {_percent(found.judged.perplexity.rise)} at the recommended one"
    return chart(
        _drawn(series),
        width=_WIDTH,
        x_label="strength, in multiples of its largest activation",
        y_label="rise of perplexity off-target",
        summary=f"Rise of perplexity off-target against strength, with the limit of {_percent(found.limit)}{best}.",
        x_ticks=_strengths(found),
        y_ticks=lambda low, high: [(rise, _percent(rise)) for rise in _RISES if low <= rise <= high],
        upright=_recommended(found),
        level=(found.limit, f"limit {_percent(found.limit)}"),
        bend_x=_root,
        bend_y=_root,
        most_y=_MOST_RISE,
    )


def _drawn(series: Sequence[Series]) -> list[Series]:
    """The feature last, on top."""
    return [*series[1:], series[0]]


def _effect(strength: float, effect: Mean) -> Place:
    said = _signed(effect.mean)
    if effect.low is not None and effect.high is not None:
        said += f" ({_signed(effect.low)} to {_signed(effect.high)})"
    return Place(strength, effect.mean, effect.low, effect.high, f"at {strength:.3g}: {said}")


def _rise(strength: float, rise: Rise) -> Place:
    said = f"{_percent(rise.rise)} ({_percent(rise.low)} to {_percent(rise.high)})"
    return Place(strength, rise.rise, rise.low, rise.high, f"at {strength:.3g}: {said}")


def _range(found: DoseResponse) -> tuple[float, float]:
    strengths = [dose.strength for dose in doses(found)]
    return min(strengths), max(strengths)


def _strengths(found: DoseResponse) -> list[tuple[float, str]]:
    low, high = _range(found)
    asked = [dose.strength for dose in found.curve]
    return [(strength, f"{strength:g}") for strength in [*asked, *([0.0] if low < 0 < high else [])]]


def _recommended(found: DoseResponse) -> tuple[float, str] | None:
    return None if found.recommended is None else (found.recommended, f"recommended {found.recommended:.2g}")


def _round(low: float, high: float) -> Iterator[tuple[float, str]]:
    step = linear_ticks(max(high, -low))
    for tick in [*step, *(-tick for tick in step[1:])]:
        if low <= tick <= high:
            yield tick, f"{tick:g}"


def _root(number: float) -> float:
    """Square root with its sign: doses that double are about evenly apart on both sides of 0, and small costs seen."""
    return math.copysign(math.sqrt(abs(number)), number)


def _signed(number: float) -> str:
    return f"{number:+.3g}"


def _percent(share: float) -> str:
    """A change in percent, of either sign: as exact as one can take it in."""
    number = round(100 * share, 1)
    digits = 0 if abs(number) >= 10 or number == int(number) else 1
    return f"{number + 0.0:,.{digits}f}\N{NO-BREAK SPACE}%"
