"""Results as tables of words, and as pictures. What draws the tables is the command line's business."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from lexiscope.bench.comparison import Comparison, Row
from lexiscope.bench.parts import Breakdown
from lexiscope.bench.result import Result
from lexiscope.bench.roof import PRECISIONS, Roof
from lexiscope.bench.scaling import Scaling
from lexiscope.core.chart import COLOURS, STYLE, Point, Series, chart

MEGABYTE = 2**20


class Table(NamedTuple):
    title: str
    columns: list[str]
    """The first is words, the others are numbers."""
    rows: list[list[str]]
    notes: list[str]


def tables(result: Result) -> list[Table]:
    """All of them, in order."""
    shown = [_roof(result.roof)]
    shown += [_comparison(comparison) for comparison in result.comparisons]
    shown += [_breakdown(breakdown) for breakdown in result.breakdowns]
    if result.scaling:
        shown.append(_scaling(result.scaling))
    for one, comparison in zip(shown[1:], result.comparisons, strict=False):
        if comparison.tuned:
            one.notes.extend(f"tuned by hand: {remark}" for remark in result.tuning)
            break
    return shown


def headline(result: Result) -> list[str]:
    """What one has to know about the run before reading a number."""
    machine = result.machine
    lines = [
        f"{machine.processor}, {machine.threads} of {machine.cores} cores, torch {machine.torch}, {machine.device}",
        *(f"kernels on {device}: {what}" for device, what in result.kernels.items()),
    ]
    if result.peers:
        lines.append("compared with " + ", ".join(f"{name} {version}" for name, version in result.peers.items()))
    if result.missing:
        lines.append(f"not installed, left out: {', '.join(result.missing)}")
    if result.others_share is not None and result.others_share > 0.05:
        lines.append(
            f"other programs used {result.others_share:.0%} of the processor meanwhile: trust ratios, not milliseconds"
        )
    return lines


def _roof(roof: Roof) -> Table:
    rows = []
    for precision in PRECISIONS:
        best = roof.best(precision)
        if best is not None and best.seconds is not None:
            rows.append(
                [f"product {precision}", f"{best.gflops:,.0f} GFLOP/s", f"{1e3 * best.seconds:.1f} ms", best.way]
            )
    rows += [[f"memory, {what}", f"{rate / 1e9:.1f} GB/s", "", ""] for what, rate in roof.bandwidth.items()]
    notes = [f"{gemm.way} ({gemm.precision}): {gemm.remark}" for gemm in roof.gemms if gemm.remark]
    return Table("Roof", ["", "rate", "encoder", "by"], rows, notes)


def _comparison(comparison: Comparison) -> Table:
    workload = comparison.workload
    reference = comparison.reference
    against = "dense" if reference is None or reference.path else reference.title
    columns = ["step", "ms", "quartiles", f"by {against}", "floor ms", "by floor", "rest/product", "peak MB"]
    rows = [_cells(comparison, row) for row in comparison.rows]
    floors = ", ".join(f"{name} {timing.median_ms:.1f} ms" for name, timing in comparison.floors.items())
    notes = [f"floor: {floors}"] if floors else []
    notes += [f"left out: {failure.splitlines()[0]}" for failure in comparison.failures.values()]
    dead = f", {workload.dead_fraction:.0%} dead" if workload.dead_fraction else ""
    title = (
        f"{workload.name}: {comparison.architecture}, D {workload.width}, F {workload.num_latents:,}, K {workload.k}, "
        f"{workload.tokens:,} tokens{dead}"
    )
    return Table(title + (" (every process tuned by hand)" if comparison.tuned else ""), columns, rows, notes)


def _cells(comparison: Comparison, row: Row) -> list[str]:
    timing, ratio = row.timing, comparison.ratio(row)
    return [
        row.title,
        f"{timing.median_ms:,.1f}",
        f"{timing.quartiles_ms[0]:,.0f}-{timing.quartiles_ms[1]:,.0f}",
        "" if ratio is None else f"{ratio:.1f}",
        "" if row.floor_ms is None else f"{row.floor_ms:.1f}",
        "" if row.over_floor is None else f"{row.over_floor:.2f}",
        "" if row.rest_over_product is None else f"{row.rest_over_product:.2f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / MEGABYTE:,.0f}",
    ]


def _breakdown(breakdown: Breakdown) -> Table:
    parts = sorted(breakdown.parts_ms.items(), key=lambda item: -item[1])
    rows = [[name, f"{ms:.1f}", f"{ms / breakdown.total_ms:.0%}"] for name, ms in parts]
    rows.append(["whole step", f"{breakdown.total_ms:.1f}", ""])
    title = f"Parts of a step: {breakdown.workload}, {breakdown.architecture}, {breakdown.path}"
    return Table(title, ["part", "ms", "share"], rows, [])


def _scaling(curves: Sequence[Scaling]) -> Table:
    rows = [
        [
            f"{curve.axis}, {curve.path}",
            f"{curve.sizes[0]:,} to {curve.sizes[-1]:,}",
            "" if curve.exponent is None else f"{curve.exponent:.3f}",
            f"{curve.exponent_over_all:.3f}",
            f"{curve.ms_per_step[0]:.1f} to {curve.ms_per_step[-1]:.1f}",
        ]
        for curve in curves
    ]
    note = "cost per token for width and latents, per step for tokens; exponent: over weights larger than the caches"
    return Table("Scaling", ["over", "range", "exponent", "over all", "ms per step"], rows, [note])


def scaling_picture(curves: Sequence[Scaling]) -> str:
    """Cost against size, both relative to the smallest, on logarithmic axes."""
    series = [
        Series(
            f"{curve.axis}, {curve.path}",
            [
                Point(size / curve.sizes[0], cost / curve.cost[0])
                for size, cost in zip(curve.sizes, curve.cost, strict=True)
            ],
            line=True,
        )
        for curve in curves
    ]
    return chart(
        "Cost against size", "size, times the smallest", "cost, times the smallest", series, log_x=True, log_y=True
    )


def steps_picture(comparisons: Sequence[Comparison]) -> str:
    """A bar for every loop: its time, the quartiles, and in darker colour the floor under it."""
    width, left, right, line = 860, 250, 90, 20
    parts: list[str] = []
    y = 34
    for comparison in comparisons:
        tuned = ", tuned by hand" if comparison.tuned else ""
        title = f"{comparison.workload.name}: {comparison.architecture}{tuned}, ms per step"
        parts.append(f'<text class="title" x="16" y="{y}">{escape(title)}</text>')
        y += 12
        longest = max((row.timing.quartiles_ms[1] for row in comparison.rows), default=1.0)
        for row in comparison.rows:
            parts += _bar(comparison, row, y, left, (width - left - right) / longest)
            y += line
        y += 30
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" role="img">'
        f"<title>Milliseconds per training step</title><style>{STYLE}</style>"
    )
    return "\n".join([head, *parts, "</svg>\n"])


def _bar(comparison: Comparison, row: Row, y: float, left: float, scale: float) -> list[str]:
    timing, ratio = row.timing, comparison.ratio(row)
    colour = COLOURS[0] if row.path else COLOURS[5]
    length = timing.median_ms * scale
    lower, upper = (left + quartile * scale for quartile in timing.quartiles_ms)
    middle = y + 7
    told = f"{timing.median_ms:,.1f}" + ("" if ratio is None else f"  ({ratio:.1f} times)")
    drawn = [
        f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(row.title)}</text>',
        f'<rect x="{left}" y="{y}" width="{length:.1f}" height="14" fill="{colour}" fill-opacity="0.75"/>',
    ]
    if row.floor_ms is not None:
        drawn.append(
            f'<rect x="{left}" y="{y}" width="{min(row.floor_ms * scale, length):.1f}" height="14" fill="{colour}"/>'
        )
    return [
        *drawn,
        f'<path class="axis" d="M{lower:.1f} {middle}H{upper:.1f}"/>',
        f'<text x="{max(left + length, upper) + 6:.1f}" y="{y + 11}">{told}</text>',
    ]
