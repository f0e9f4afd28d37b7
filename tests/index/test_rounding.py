"""Oracle: exact arithmetic with fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexiscope.index.tables.rounding import rounded

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=2.0**120, min_value=-(2.0**120))


@given(FLOATS, st.integers(2, 24))
def test_to_the_nearest_with_so_many_bits(value, bits):
    [found] = rounded(np.array([value], np.float32), bits).tolist()
    if abs(value) < np.finfo(np.float32).tiny:
        assert found == value
        return
    exact = Fraction(value)
    unit = Fraction(2) ** (abs(value).hex().find("p") and int(abs(value).hex().split("p")[1]) - bits + 1)
    expected = round(exact / unit) * unit  # Python rounds halves to even
    assert Fraction(found) == expected
    assert abs(found - value) <= 2.0**-bits * abs(value) * (1 + 1e-7)
    assert found != 0


@pytest.mark.parametrize("value", [np.inf, -np.inf, 0.0, -0.0, 1e-42])
def test_what_has_no_such_bits_stays(value):
    assert rounded(np.array([value], np.float32), 10).tolist() == np.array([value], np.float32).tolist()
    assert np.isnan(rounded(np.array([np.nan], np.float32), 10)).all()
