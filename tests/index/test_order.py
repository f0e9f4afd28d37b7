"""Oracle: numpy's stable sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lexiscope.index.tables.order import ascending

FLOATS = arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.5]))
INTEGERS = arrays.arrays(np.int64, st.integers(0, 40), elements=st.integers(-(2**33), 2**33) | st.integers(-3, 3))
DISTANCES = arrays.arrays(np.float64, st.integers(0, 40), elements=st.floats(0, 9))


@given(FLOATS | INTEGERS | DISTANCES)
def test_numbers_come_as_in_a_stable_sort(keys_F):
    for either_way in (keys_F, -keys_F):
        assert ascending(either_way).tolist() == np.argsort(either_way, kind="stable").tolist()
