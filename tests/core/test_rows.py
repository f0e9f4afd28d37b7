"""Oracle: what went in."""

from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lexiscope.core.rows import pack, unpack
from lexiscope.core.tensors import read_tensors, write_tensors


class Mixed(NamedTuple):
    count: int
    share: float
    name: str
    places_N: np.ndarray
    weights_N: np.ndarray


lengths = st.integers(0, 5)
rows = st.lists(
    st.builds(
        Mixed,
        st.integers(-(2**62), 2**62),
        st.floats(),
        st.text(max_size=6),
        arrays(np.int32, lengths),
        arrays(np.float32, lengths),
    ),
    max_size=5,
)


@given(rows)
def test_rows_come_back_bit_for_bit_through_a_file(tmp_path_factory, given_rows):
    path = tmp_path_factory.mktemp("rows") / "rows.safetensors"
    write_tensors(path, {**pack(given_rows, "a/"), **pack([], "b/")})
    tensors = read_tensors(path)
    assert unpack(tensors, Mixed, "b/") == []
    found = unpack(tensors, Mixed, "a/")
    assert len(found) == len(given_rows)
    for one, other in zip(found, given_rows, strict=True):
        assert one.count == other.count
        assert np.float64(one.share).tobytes() == np.float64(other.share).tobytes()
        assert one.name == other.name
        for array, expected in ((one.places_N, other.places_N), (one.weights_N, other.weights_N)):
            assert array.dtype == expected.dtype
            assert array.tobytes() == expected.tobytes()
