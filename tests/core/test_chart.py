"""The SVG parses, puts points where arithmetic says, and treats every text as text."""

from xml.etree import ElementTree as ET

import pytest

from lexiscope.core.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Point, Series, chart

SVG = "{http://www.w3.org/2000/svg}"


def circles(svg):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in ET.fromstring(svg).iter(f"{SVG}circle")]


def test_a_logarithmic_axis_puts_the_geometric_mean_in_the_middle():
    svg = chart("t", "x", "y", [Series("s", [Point(1, 1), Point(10, 5), Point(100, 9)])], log_x=True)
    (x0, y0), (x1, y1), (x2, y2) = circles(svg)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.2)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.2)
    assert y0 > y1 > y2
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in circles(svg))


def test_what_can_not_be_drawn_is_left_out():
    points = [Point(float("nan"), 1), Point(0, 1), Point(3, float("inf")), Point(5, 2)]
    assert len(circles(chart("t", "x", "y", [Series("s", points, line=True)], log_x=True))) == 1
    assert circles(chart("t", "x", "y", [])) == []


def test_labels_are_text():
    svg = chart("<script>a</script>", "&", "<b>", [Series("</svg>", [Point(1, 2, '"><script>')])])
    assert not [e for e in ET.fromstring(svg).iter() if e.tag.endswith("script")]


@pytest.mark.parametrize(("low", "high", "logarithmic"), [(0.0, 1.0, False), (0.003, 0.9, True), (1, 70_000, True)])
def test_ticks_lie_on_the_axis(low, high, logarithmic):
    ticks = Axis("", low, high, 0, 100, logarithmic).ticks()
    assert 2 <= len(ticks) <= 16
    assert all(low <= tick <= high for tick in ticks)
