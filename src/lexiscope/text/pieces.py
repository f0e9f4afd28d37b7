"""Pieces: how a text that is too long to hold as one document is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAX_DOCUMENT_CHARACTERS = 2**18
"""More than any file of the standard library, and little enough that sources taking turns mix well."""


def pieces(blocks: Iterable[str], most: int | None = None) -> Iterator[str]:
    """Cut a text, given in blocks of any length, into pieces of at most ``most`` or `MAX_DOCUMENT_CHARACTERS`.

    A piece ends after a line break where there is one in its second half, else after a space there, else anywhere.
    Joined, the pieces are the text again. Memory: one block and one piece.
    """
    most = most or MAX_DOCUMENT_CHARACTERS
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > most:
            end = _cut(rest, start, most)
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest


def _cut(text: str, start: int, most: int) -> int:
    half, end = start + most // 2, start + most
    for mark in ("\n", " "):
        found = text.rfind(mark, half, end)
        if found >= 0:
            return found + 1
    return end
