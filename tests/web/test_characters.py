"""Oracle: written by hand; and Unicode's own categories for every character there is."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from lexiscope.web.drawing.characters import labelled, visible

_HIDDEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (" the", " the"),
        ("the", "the"),
        (" ", "·"),
        ("the ", "the "),
        ("of the ", "of the "),
        ("  the", "··the"),
        ("the \n", "the·↵"),
        ("\n    ", "↵·⁴"),
        ("\n\n", "↵↵"),
        (" " * 12, "·¹²"),
        ("\t", "→"),
        ("a\x00b", "a⟨U+0000⟩b"),
        ("\u202e", "⟨U+202E⟩"),
        ("\u0301", "◌\u0301"),
        ("\\xe2", "\\xe2"),
        ("é漢😀", "é漢😀"),
        ("", ""),
    ],
)
def test_shown(piece, shown):
    assert visible(piece) == shown


def test_on_its_own_the_space_in_front_is_drawn():
    assert labelled(" the") == "·the"


def test_nothing_invisible_gets_through():
    hidden = [
        character
        for character in map(chr, range(sys.maxunicode))
        if unicodedata.category(character) in _HIDDEN and character != " "
    ]
    assert len(hidden) > 2000
    for character in [*hidden, "\ue000", "\U0010ffff"]:
        shown = visible(f"a{character}b")
        assert all(unicodedata.category(drawn)[0] not in "CZ" for drawn in shown), hex(ord(character))


def test_long_tokens_are_cut():
    assert len(visible("x" * 1000)) < 60
