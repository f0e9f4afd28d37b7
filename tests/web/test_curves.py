"""Curves and bars of what was tested. Oracle: places worked out by hand."""

from __future__ import annotations

import math

import pytest
from tests.steer.made_findings import confirmation, dose_response

from lexiscope.steer.confirming.confirm import Direction, Moved
from lexiscope.web.drawing.curves import Place, Series, chart
from lexiscope.web.drawing.tested import cost_chart, doses, effect_chart, turn, verdict_kind, way_plots


def drawn(places, **asked):
    made = [Series("own", "this", [Place(*place, "said") for place in places])]
    asked = {"x_ticks": [], "y_ticks": lambda low, high: [(low, "low"), (high, "high")], **asked}
    return chart(made, width=460, x_label="x", y_label="y", summary="s", **asked)


def points(text):
    return [tuple(map(float, point.split(","))) for point in text.split()]


def test_places_are_in_proportion():
    made = drawn([(0, 0, -1, 1), (1, 2, 1, 3), (2, 4, 3, 5)])
    [curve] = made.curves
    (x0, y0), (x1, y1), (x2, y2) = points(curve.line)
    assert (x1 - x0, y1 - y0) == (pytest.approx(x2 - x1), pytest.approx(y2 - y1, abs=0.2))
    assert y2 < y1 < y0  # upwards is less in an SVG
    band = points(curve.band)
    assert len(band) == 6
    assert band[2][1] == pytest.approx(made.top)
    assert [dot.title for dot in curve.dots] == ["said"] * 3


def test_the_upper_edge_is_the_end():
    made = drawn([(0, 0.0, None, None), (1, 50.0, None, None)], most_y=1.0)
    assert points(made.curves[0].line)[1][1] == made.top
    assert made.curves[0].band == ""
    assert [tick.label for tick in made.y_ticks] == ["low", "high"]


@pytest.mark.parametrize("places", [[(1, 0, 0, 0)], [(1, 0, None, None), (1, 0, None, None)], []])
def test_what_does_not_vary_is_drawn(places):
    made = drawn(places, level=(0.0, "limit"))
    numbers = [
        made.zero,
        made.middle,
        *(number for curve in made.curves for dot in curve.dots for number in (dot.x, dot.y)),
    ]
    assert all(map(math.isfinite, numbers))


def test_ticks_have_room():
    made = drawn([(0, 0, None, None), (1, 1, None, None)], x_ticks=[(place / 100, "0.125") for place in range(101)])
    assert 5 < len(made.x_ticks) < 15
    made = drawn(
        [(0, 0, None, None), (1, 1, None, None)], y_ticks=lambda low, high: [(0, "0"), (0.01, "1 %"), (1, "1")]
    )
    assert [tick.label for tick in made.y_ticks] == ["0", "1"]


def test_the_recommended_dose_is_among_those_that_are_drawn():
    found = dose_response(strengths=(-1.0, 1.0))
    between = found.curve[1].model_copy(update={"strength": 0.4})
    found = found.model_copy(update={"judged": between, "recommended": 0.4})
    assert [dose.strength for dose in doses(found)] == [-1.0, 0.4, 1.0]
    for made in (effect_chart(found), cost_chart(found)):
        own = made.curves[-1]
        assert (own.kind, len(own.dots)) == ("own", 3)
        assert made.upright.at == own.dots[1].x
        assert made.upright.label == "recommended 0.4"
    assert len(cost_chart(found).curves) == len(effect_chart(found).curves) == 7
    assert turn(found, most=8.0) == "add:7:0.2max"


def test_what_stands_for_how_it_is_asked():
    assert turn(dose_response(strengths=(100.0,)), most=4.0) == "add:7:100max"


def test_shares_lie_on_one_scale():
    def moved(share, low, high):
        return Moved(logits=1, logits_low=0, logits_high=2, share=share, share_low=low, share_high=high)

    there, back = moved(0.5, 0.25, 1.5), moved(-0.25, -0.5, 0.0)
    way = Direction(feature=there, other_feature=back, direction=back, beyond=there)
    put_in, taken_out = way_plots(confirmation().model_copy(update={"put_in": way, "taken_out": way}))
    assert (put_in.zero, put_in.whole) == (taken_out.zero, taken_out.whole) == (25.0, 75.0)
    own, other, _, beyond = put_in.rows
    assert (own.x, own.width, own.low, own.high) == (25.0, 25.0, 37.5, 100.0)
    assert (other.x, other.width, other.low, other.high) == (12.5, 12.5, 0.0, 25.0)
    assert (beyond.label, beyond.x, beyond.width) == ("beyond chance", 25.0, 25.0)
    assert own.text == "50 % (25 % to 150 %)".replace(" %", "\N{NO-BREAK SPACE}%")


def test_verdicts_have_three_colours():
    assert [verdict_kind(said) for said in ("cause", "undecided", "no cause")] == ["good", "open", "bad"]
    assert [verdict_kind(said) for said in ("works", "no better than a control", "costs too much", "no effect")] == [
        "good",
        "open",
        "bad",
        "bad",
    ]
