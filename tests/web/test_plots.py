"""Oracle: heights and places worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lexiscope.web.drawing.plots import compact, histogram, intervals, linear_ticks


def _plot(counts, *, logarithmic):
    return histogram(
        counts,
        0,
        4,
        width=440,
        x_label="x",
        y_label="y",
        unit="things",
        x_ticks=[(0, "0"), (4, "4")],
        value=str,
        logarithmic=logarithmic,
    )


def test_linear_bars_are_in_proportion():
    plot = _plot([10, 0, 5, 20], logarithmic=False)
    assert [round(bar.height / plot.bars[-1].height, 2) for bar in plot.bars] == [0.5, 0.25, 1]
    assert plot.bars[-1].height == plot.bottom - plot.top
    assert plot.bars[0].title == "0.0 to 1.0: 10 things"
    assert (plot.x_ticks[0].at, plot.x_ticks[1].at) == (plot.left, plot.right)


def test_on_a_logarithmic_axis_every_decade_is_as_high():
    plot = _plot([1, 10, 100, 1000], logarithmic=True)
    heights = [bar.height for bar in plot.bars]
    steps = [after - before for before, after in pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.1)
    assert heights[0] > 2
    assert [tick.label for tick in plot.y_ticks] == ["1", "10", "100", "1k"]


def test_no_bars_no_error():
    assert _plot([0, 0], logarithmic=True).bars == []


@pytest.mark.parametrize(("most", "ticks"), [(8, [0, 2, 4, 6, 8]), (0.31, [0, 0.1, 0.2, 0.3]), (0, [0])])
def test_ticks_are_round(most, ticks):
    assert linear_ticks(most) == ticks


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (950, "950"), (20_000, "20k"), (1_500_000, "1.5M")])
def test_compact(number, text):
    assert compact(number) == text


def test_intervals_share_a_scale_from_zero():
    own, other, alone = intervals([("a", 2, 1, 4), ("b", -1, -2, 0.5), ("c", 1, None, None)], str)
    assert (own.width, own.low, own.high, own.text) == (50, 25, 100, "2 (1 to 4)")
    assert (other.width, other.low, other.high) == (0, 0, 12.5)
    assert (alone.width, alone.low, alone.text) == (25, None, "1")


def test_intervals_of_nothing():
    assert [row.width for row in intervals([("a", 0.0, 0.0, 0.0)], str)] == [0]
