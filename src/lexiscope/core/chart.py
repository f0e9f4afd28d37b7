"""A chart of points and lines as a stand-alone SVG file: readable in any browser, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 48, 60
COLOURS = ("#3b6fb6", "#c2571a", "#3d8a4e", "#8d5aa8", "#a33b52", "#6b7280", "#b08a1e", "#2f8f9d")

STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif; fill: #222; }
.grid { stroke: #0002; } .axis { stroke: #0008; } .line { fill: none; stroke-width: 1.5; } .title { font-size: 15px; }
@media (prefers-color-scheme: dark) {
  svg { background: #16181c; fill: #ddd; } .grid { stroke: #fff2; } .axis { stroke: #fff8; }
}
"""


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    label: str = ""
    """Written beside the point, and said when the pointer is over it."""


@dataclass(frozen=True)
class Series:
    name: str
    points: Sequence[Point]
    line: bool = False
    """Join the points, in the order given."""


@dataclass(frozen=True)
class Axis:
    """From numbers to places, linear or logarithmic."""

    label: str
    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return round(self.start + (value - low) / ((high - low) or 1) * (self.stop - self.start), 1)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 2, 5) if last - first <= 3 else (1,)
            places = [factor * 10.0**power for power in range(first, last + 1) for factor in steps]
        else:
            rough = (self.high - self.low) / 5 or 1.0
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
            places = [step * place for place in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [place for place in places if self.low * (1 - 1e-9) <= place <= self.high * (1 + 1e-9)]


def chart(
    title: str, x_label: str, y_label: str, series: Sequence[Series], *, log_x: bool = False, log_y: bool = False
) -> str:
    """The SVG. Points that are not finite, or not positive on a logarithmic axis, are left out."""
    shown = [
        Series(one.name, [p for p in one.points if _fits(p.x, log_x) and _fits(p.y, log_y)], one.line) for one in series
    ]
    x = _axis(x_label, [p.x for one in shown for p in one.points], LEFT, WIDTH - RIGHT, logarithmic=log_x)
    y = _axis(y_label, [p.y for one in shown for p in one.points], HEIGHT - BOTTOM, TOP, logarithmic=log_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
    ]
    for place in x.ticks():
        parts += [
            f'<line class="grid" x1="{x.at(place)}" x2="{x.at(place)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>',
            f'<text x="{x.at(place)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{place:g}</text>',
        ]
    for place in y.ticks():
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(place)}" y2="{y.at(place)}"/>',
            f'<text x="{LEFT - 8}" y="{y.at(place) + 4}" text-anchor="end">{place:g}</text>',
        ]
    corner = f'd="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts += [
        f'<path class="axis" fill="none" {corner}/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 16}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for number, one in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        if one.line and one.points:
            path = " ".join(f"{x.at(p.x)},{y.at(p.y)}" for p in one.points)
            parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        for p in one.points:
            tip = escape(f"{p.label or one.name}: {p.x:.4g}, {p.y:.4g}")
            parts.append(
                f'<circle cx="{x.at(p.x)}" cy="{y.at(p.y)}" r="3.5" fill="{colour}"><title>{tip}</title></circle>'
            )
            if p.label:
                parts.append(f'<text x="{x.at(p.x) + 6}" y="{y.at(p.y) - 6}" font-size="10">{escape(p.label)}</text>')
        parts.append(
            f'<rect x="{WIDTH - RIGHT - 150}" y="{TOP + 4 + 16 * number}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{WIDTH - RIGHT - 134}" y="{TOP + 13 + 16 * number}">{escape(one.name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _fits(value: float, logarithmic: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not logarithmic)


def _axis(label: str, values: Sequence[float], start: float, stop: float, *, logarithmic: bool) -> Axis:
    low, high = (min(values), max(values)) if values else (1.0, 2.0)
    if logarithmic:
        return Axis(label, low / 1.2, high * 1.2, start, stop, logarithmic=True)
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(label, low - margin if low < 0 or low > margin else 0.0, high + margin, start, stop, logarithmic=False)
