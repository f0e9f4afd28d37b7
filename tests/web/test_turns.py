"""Addresses of what is turned. Oracle: what was written is what is read, for anything that can be set."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexiscope.core.errors import InputError
from lexiscope.steer.interventions import Ablate, Add, Clamp, Patch
from lexiscope.steer.strength import Strength
from lexiscope.steer.where import Where
from lexiscope.web.steering.asked import read_where, written_positions
from lexiscope.web.steering.turns import MAX_SOURCE, MAX_TIMES, MAX_WRITTEN, SHAPE, Turn, read_turn, turns_of

FEATURES = st.integers(0, 10**9 - 1)
TIMES = st.floats(-MAX_TIMES, MAX_TIMES, allow_nan=False)
STRENGTHS = st.one_of(
    st.builds(Strength, times=TIMES, unit=st.sampled_from(["activation", "max", "mean"])),
    st.builds(Strength, times=TIMES, unit=st.just("quantile"), quantile=st.sampled_from([0.0, 0.25, 0.9, 1.0])),
)
SOURCES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_SOURCE).filter(str.strip)
TURNS = st.one_of(
    st.tuples(st.sampled_from(["clamp", "add", "cap"]), FEATURES, STRENGTHS),
    st.tuples(st.just("scale"), FEATURES, st.builds(Strength, times=TIMES, unit=st.just("activation"))),
    st.tuples(st.just("ablate"), FEATURES),
    st.tuples(st.just("patch"), st.one_of(st.none(), FEATURES), st.none(), SOURCES),
).map(lambda parts: Turn(*parts))
ON = st.sampled_from(["all", "prompt", "generated"])
ENDS = st.one_of(st.none(), st.integers(-(10**9) + 1, 10**9 - 1))
POSITIONS = st.one_of(
    st.none(),
    st.lists(st.integers(-999, 999), min_size=1, max_size=8).map(tuple),
    st.tuples(ENDS, ENDS).map(lambda ends: ":".join("" if end is None else str(end) for end in ends)),
)
WHERE = st.builds(Where, tokens=ON, positions=POSITIONS)


@given(turns=st.lists(TURNS, max_size=4))
def test_a_turn_is_read_as_it_was_written(turns):
    address = urlencode({"turn": [turn.written() for turn in turns]}, doseq=True)
    assert [read_turn(one) for one in parse_qs(address, keep_blank_values=True).get("turn", [])] == turns


@given(where=WHERE)
def test_places_are_read_as_they_were_written(where):
    assert read_where(where.tokens, written_positions(where)) == where


@given(turns=st.lists(TURNS, min_size=1, max_size=4, unique_by=lambda turn: turn.name), where=WHERE)
def test_what_interventions_do_is_said_by_the_turns_that_made_them(turns, where):
    interventions = [turn.intervention(where) for turn in turns]
    found = turns_of(interventions)
    if any(turn.do == "clamp" and turn.off for turn in turns):
        assert found is None  # clamping to 0 silences; a slider in its middle does not
    else:
        assert found == (turns, where)


@given(written=st.from_regex(re.compile(SHAPE, re.ASCII), fullmatch=True))
def test_what_is_described_is_read_and_changes_something(written):
    turn = read_turn(written)
    assert not turn.off
    assert len(written) <= MAX_WRITTEN
    assert read_turn(turn.written()) == turn


@pytest.mark.parametrize(
    "given_",
    [
        [Ablate(features=1, to="mean")],
        [Clamp(features=1, to=2, share=0.5)],
        [Clamp(features=1, to=2, rows=0)],
        [Clamp(features=1, to=2, special=True)],
        [Clamp(features=1, to=2000)],
        [Clamp(features=1, to=2), Add(features=1, by=2)],
        [Clamp(features=1, to=2), Add(features=2, by=2, tokens="prompt")],
        [Patch(features=1, source="a")],
        [Patch(features=1, source="a" * 301, from_position=-1)],
    ],
)
def test_what_an_address_can_not_say_is_not_said(given_):
    assert turns_of(given_) is None


def test_several_features_of_one_intervention_are_as_many_turns():
    turns, where = turns_of([Add(features=[3, 4], by="2max"), Patch(source="a", from_position=-1, tokens="all")])
    assert [turn.written() for turn in turns] == ["add:3:2max", "add:4:2max", "patch:all:a"]
    assert where == Where()


@pytest.mark.parametrize("positions", ["a", "1:2:3", "1,,2", ",", "--1", "1;2", "\u0661", "1" * 20 + ","])
def test_positions_that_are_none_are_refused(positions):
    with pytest.raises(InputError, match="neither a slice"):
        read_where("all", positions)
