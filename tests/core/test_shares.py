"""Shares with intervals. Oracle: values that Wilson's formula is published with, and its defining equation."""

from __future__ import annotations

import pytest

from lexiscope.core.shares import Z95, wilson_interval


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # Agresti & Coull 1998 and Newcombe 1998 (method 3): 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_values(count, of, low, high):
    assert wilson_interval(count, of) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("count", "of"), [(1, 3), (40, 41), (500, 2000)])
def test_limits_are_where_the_score_test_just_fails(count, of):
    for limit in wilson_interval(count, of):
        assert abs(count / of - limit) == pytest.approx(Z95 * (limit * (1 - limit) / of) ** 0.5)


def test_all_and_none():
    assert wilson_interval(0, 5)[0] == 0
    assert wilson_interval(5, 5)[1] == 1


@pytest.mark.parametrize(("count", "of"), [(1, 0), (0, 0), (4, 3), (-1, 3)])
def test_no_share(count, of):
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(count, of)
