"""Concept: a property of tokens that can be told exactly from the text of a document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Span = tuple[int, int]
"""Characters start..end-1 of a document."""
Find = Callable[[str], Iterable[Span]]

CODE = frozenset({"code"})
TEXT = frozenset({"prose", "docs"})
SENTENCES = frozenset({"prose", "docs", "generated"})
GENERATED = frozenset({"generated"})
EVERYWHERE = frozenset({"code", "prose", "docs", "generated"})


@dataclass(frozen=True)
class Concept:
    """A token is positive when its characters, without leading white space, meet one of the spans.

    A token of white space alone keeps its characters.

    Attributes:
        name: as in the report.
        definition: which characters are positive, in one sentence.
        kinds: kinds of documents in which it is judged; tokens of others are left out.
        find: from the text of a whole document to the positive spans.
    """

    name: str
    definition: str
    kinds: frozenset[str]
    find: Find


def matching(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Find:
    """The spans of every match: of its group ``x``, where the pattern has one.

    Patterns are verbose: white space in them is not part of the pattern.
    """
    compiled = re.compile(pattern, flags | re.VERBOSE | re.MULTILINE)
    group: str | int = "x" if "x" in compiled.groupindex else 0
    return lambda text: (match.span(group) for match in compiled.finditer(text))


def words(listed: str) -> Find:
    """The spans of whole words from a list, whatever their case."""
    return matching(rf"\b(?:{'|'.join(sorted(listed.split(), key=len, reverse=True))})\b", re.IGNORECASE)
