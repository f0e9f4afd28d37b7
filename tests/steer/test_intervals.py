"""Wilson intervals against published ones: Newcombe 1998, Statistics in Medicine 17, table I, method 3."""

from __future__ import annotations

import pytest

from lexiscope.core.errors import InputError
from lexiscope.steer.effects.intervals import share_of, wilson


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_of_the_table(count, of, low, high):
    found = wilson(count, of)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(of - count, of)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=5e-5)


def test_shares_are_counted():
    found = share_of([True, False, True, True])
    assert (found.share, found.count, found.of) == (0.75, 3, 4)
    assert found.low < 0.75 < found.high


def test_nothing_has_no_share():
    with pytest.raises(InputError, match="0 of 0 is no share"):
        share_of([])
