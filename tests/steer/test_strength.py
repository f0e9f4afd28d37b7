"""Strengths in the units of a feature. Oracle: numpy on all firings of the feature in the built."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.index.conftest import built, store, world  # noqa: F401

from lexiscope.core.errors import InputError
from lexiscope.steer.strength import Strength, Units, in_activation, mean_over_tokens


@given(st.floats(-1e6, 1e6), st.sampled_from(["", "max", "mean", "q0.9", "q0.25", "q1"]))
def test_what_is_written_is_read(times, unit):
    text = f"{times:.6g}{unit}"
    strength = Strength.read(text)
    assert strength.times == float(f"{times:.6g}")
    assert Strength.read(strength.written()) == strength


@given(st.text(max_size=8) | st.none() | st.booleans() | st.sampled_from(["nan", "inf", "1e400", "2q7", "1 2", "٣max"]))
def test_other_text_is_refused_or_finite(text):
    try:
        assert np.isfinite(Strength.read(text).times)
    except ValueError as error:
        assert str(error)


def test_units_are_those_of_the_firings(built):  # noqa: F811
    units = Units(built)
    feature = max(built.live(), key=lambda live: len(built.firings(live)[1]))
    values_N = np.asarray(built.firings(feature)[1])
    for written, expected in {
        "2max": 2 * values_N.max(),
        "-0.5mean": -0.5 * values_N.mean(),
        "1q0.9": np.quantile(values_N, 0.9),
        3: 3,
    }.items():
        assert in_activation(units, feature, Strength.read(written)) == pytest.approx(expected, rel=1e-4)
    assert mean_over_tokens(units, feature) == pytest.approx(values_N.sum() / built.num_tokens, rel=1e-4)


def test_units_that_nobody_knows(built):  # noqa: F811
    with pytest.raises(InputError, match="an index of this dictionary"):
        in_activation(None, 0, Strength.read("2max"))
    with pytest.raises(InputError, match="needs an index"):
        mean_over_tokens(None, 0)
    with pytest.raises(InputError, match="there is no feature"):
        in_activation(Units(built), 10**6, Strength.read("2max"))


def test_what_is_not_finite_is_no_strength():
    with pytest.raises(ValueError, match="finite"):
        Strength(times=float("nan"), unit="max")
