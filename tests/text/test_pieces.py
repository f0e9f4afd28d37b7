"""Oracle: joining the pieces gives the text; the rule of where to cut is restated here for short texts."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexiscope.text import pieces as module
from lexiscope.text.pieces import MAX_DOCUMENT_CHARACTERS, pieces


@given(st.lists(st.text(alphabet="ab \n", max_size=40), max_size=5))
def test_joined_pieces_are_the_text_and_short(blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_DOCUMENT_CHARACTERS", 8)
        found = list(pieces(blocks))
        whole = list(pieces(["".join(blocks)]))
    assert "".join(found) == "".join(blocks)
    assert all(0 < len(piece) <= 8 for piece in found)
    assert found == whole, "the blocks in which a text is read must not show"
    for piece, following in itertools.pairwise(found):
        if "\n" in (piece + following)[4:8]:
            assert piece.endswith("\n")
        elif " " in (piece + following)[4:8]:
            assert piece.endswith(" ")
        else:
            assert len(piece) == 8


def test_a_line_of_ten_megabytes():
    line = "x" * 10_000_000
    found = list(pieces([line]))
    assert [len(piece) for piece in found[:-1]] == [MAX_DOCUMENT_CHARACTERS] * (10_000_000 // MAX_DOCUMENT_CHARACTERS)
    assert "".join(found) == line
