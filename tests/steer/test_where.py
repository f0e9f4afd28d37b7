"""Which tokens are meant. Oracle: Python's own slices of a list of positions, and sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lexiscope.steer.where import Where

ENDS = st.none() | st.integers(-6, 14)
POSITIONS = (
    st.none()
    | st.builds(lambda start, stop: f"{'' if start is None else start}:{'' if stop is None else stop}", ENDS, ENDS)
    | st.lists(st.integers(-3, 14), max_size=4).map(tuple)
)


@st.composite
def wheres(draw, rows=3):
    return Where(
        positions=draw(POSITIONS),
        tokens=draw(st.sampled_from(["all", "prompt", "generated"])),
        rows=draw(st.none() | st.lists(st.integers(0, rows - 1), unique=True, max_size=rows).map(tuple)),
    )


def meant(where, prompt, total):
    """Positions, by lists: those of the prompt can be counted from its end, and a slice is one of all of them."""
    every = list(range(total))
    if where.positions is None:
        chosen = every
    elif isinstance(where.positions, tuple):
        chosen = [position if position >= 0 else every[:prompt][position] for position in where.positions]
    else:
        ends = [int(end) if end else None for end in where.positions.split(":")]
        start, stop = (None if end is None else max(prompt + end, 0) if end < 0 else end for end in ends)
        chosen = every[start:stop]
    lower, upper = {"all": (0, total), "prompt": (0, prompt), "generated": (prompt, total)}[where.tokens]
    return {position for position in chosen if lower <= position < upper}


def found(where, passes, prompts):
    """From the masks of several passes, one after another."""
    found = [set() for _ in prompts]
    for first, length in passes:
        mask_BC = where.mask(first, length, prompts)
        for row, places in enumerate(found):
            line = [True] * length if mask_BC is None else mask_BC[row].tolist()
            places |= {first + place for place, chosen in enumerate(line) if chosen}
    return found


@given(wheres(), st.lists(st.integers(3, 8), min_size=3, max_size=3), st.integers(0, 6))
def test_a_text_read_at_once_and_token_by_token(where, prompts, steps):
    total = max(prompts) + steps
    rows = range(3) if where.rows is None else where.rows
    expected = [meant(where, prompt, total) if row in rows else set() for row, prompt in enumerate(prompts)]
    assert found(where, [(0, total)], prompts) == expected
    first = min(prompts)
    in_turn = [(0, first), *((place, 1) for place in range(first, total))]
    assert found(where, in_turn, prompts) == expected


@given(wheres(rows=2), wheres(rows=2), st.integers(3, 6))
def test_places_that_are_apart_never_meet(one, other, prompt):
    if one.apart_from(other):
        for row in range(2):
            rows = [where.rows is None or row in where.rows for where in (one, other)]
            assert not (all(rows) and meant(one, prompt, 15) & meant(other, prompt, 15))


def test_ways_to_write_positions():
    assert Where(positions=slice(-4, None)).positions == Where(positions=" -4 : ").positions == "-4:"
    assert Where(positions=-1).positions == (-1,) == Where(positions=[-1]).positions
