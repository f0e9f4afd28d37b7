"""Characters: how the text of a token is shown, so that nothing in it hides or takes over the line it is in."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_GLYPHS = {"\n": "↵", "\r": "␍", "\t": "→", " ": "·"}
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONGEST = 48
_REMEMBERED = 1 << 14
"""Pages draw the same few thousand tokens again and again."""
_SINGLE_SPACE = re.compile(r"((?<!\s) (?!\s))")


@lru_cache(maxsize=_REMEMBERED)
def visible(piece: str) -> str:
    """A token inside running text: single spaces beside letters stay spaces, everything else that is blank is drawn.

    A raised number counts repeats: ``·⁸`` is eight spaces. Control characters, bidirectional and zero-width marks and
    odd spaces appear by name, such as ⟨U+202E⟩. HTML is not escaped here: the template does that.
    """
    if piece.isspace():
        return labelled(piece)
    return _cut("".join(" " if part == " " else _drawn(part) for part in _SINGLE_SPACE.split(piece)))


def whole(text: str) -> str:
    """A line that somebody wrote: all of it, single spaces as they are, what is invisible drawn."""
    return "".join(" " if part == " " else _drawn(part) for part in _SINGLE_SPACE.split(text))


@lru_cache(maxsize=_REMEMBERED)
def labelled(piece: str) -> str:
    """A token on its own, as in a list: the space in front is drawn, too."""
    return _cut(_drawn(piece))


def _drawn(piece: str) -> str:
    shown = "".join(map(_glyph, piece))
    shown = re.sub(r"([·↵])\1{2,}", lambda run: run[1] + str(len(run[0])).translate(_RAISED), shown)
    if unicodedata.category(piece[:1] or " ") in {"Mn", "Me"}:
        shown = "◌" + shown
    return shown


def _cut(shown: str) -> str:
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _glyph(character: str) -> str:
    if character in _GLYPHS:
        return _GLYPHS[character]
    category = unicodedata.category(character)
    if category[0] == "C" or category in {"Zl", "Zp", "Zs"}:
        return f"⟨U+{ord(character):04X}⟩"
    return character
