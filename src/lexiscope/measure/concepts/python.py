"""Where strings, comments, docstrings and brackets are in Python source.

One regular expression instead of the standard tokenizer: it is the same in every Python version, and text that breaks
off in the middle of a file is read up to its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lexiscope.measure.concepts.concept import Find, Span

_QUOTED = re.compile(
    r"""
    (?P<comment> \#[^\n]* )
    | (?P<string> (?:(?<!\w)[bBfFrRuU]{1,2})?
        (?: (?P<triple>\"{3}|'{3}) (?:\\.|.)*? (?:(?P=triple)|\Z)
          | \"(?:\\.|[^\"\\\n])*(?:\"|(?=\n)|\Z)
          | '(?:\\.|[^'\\\n])*(?:'|(?=\n)|\Z) ) )
    """,
    re.VERBOSE | re.DOTALL,
)
_HEAD = re.compile(
    r"^[ \t]*(?:async\s+)?(class|def|if|elif|else|for|while|with|try|except|finally|match|case)\b", re.MULTILINE
)
_HIDDEN = "\x01"


@dataclass(frozen=True)
class Source:
    """Python source, taken apart.

    Attributes:
        bare: the text with every character of a string or comment hidden, line breaks excepted; positions stay.
        depth: how many brackets are open before each character of ``bare``, and after the last.
    """

    bare: str
    comments: list[Span]
    strings: list[Span]
    docstrings: list[Span]
    depth: NDArray[np.int64]


@lru_cache(maxsize=4)
def read(text: str) -> Source:
    """Take source apart. The last few texts are remembered, as each concept asks for the same one in turn."""
    comments: list[Span] = []
    strings: list[Span] = []
    parts, end = [], 0
    for match in _QUOTED.finditer(text):
        (comments if match["comment"] is not None else strings).append(match.span())
        parts += [text[end : match.start()], re.sub(r"[^\n]", _HIDDEN, match[0])]
        end = match.end()
    bare = "".join([*parts, text[end:]])
    characters = np.frombuffer(bare.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    opened, closed = (np.isin(characters, [ord(bracket) for bracket in brackets]) for brackets in ("([{", ")]}"))
    depth = np.concatenate([[0], np.cumsum(opened.astype(np.int64) - closed)])
    docstrings = [span for span in strings if _opens_a_body(bare, depth, span[0])]
    return Source(bare, comments, [span for span in strings if span not in set(docstrings)], docstrings, depth)


def in_code(pattern: str, *, inside_brackets: bool | None = None) -> Find:
    """Like `matching`, outside strings and comments; optionally only where brackets are open, or only where none is."""
    compiled = re.compile(pattern, re.VERBOSE | re.MULTILINE)
    group: str | int = "x" if "x" in compiled.groupindex else 0

    def find(text: str) -> list[Span]:
        source = read(text)
        spans = (match.span(group) for match in compiled.finditer(source.bare))
        if inside_brackets is None:
            return list(spans)
        return [span for span in spans if (source.depth[span[0]] > 0) == inside_brackets]

    return find


def keyword(*names: str) -> Find:
    """The keywords themselves, outside strings and comments."""
    return in_code(rf"(?<![\w.])(?:{'|'.join(names)})(?!\w)")


def head(*names: str) -> Find:
    """Block heads that begin with one of these keywords: from the keyword up to the colon that opens the block."""
    pattern = re.compile(rf"^[ \t]*(?P<x>(?:async[ ]+)?(?:{'|'.join(names)})\b)", re.MULTILINE)

    def find(text: str) -> list[Span]:
        source = read(text)
        colons = [match.start() for match in re.finditer(":", source.bare)]
        spans = []
        for match in pattern.finditer(source.bare):
            start = match.start("x")
            ends = (
                colon
                for colon in colons[np.searchsorted(colons, start) :]
                if source.depth[colon] == source.depth[start]
            )
            spans.append((start, next(ends, match.end("x"))))
        return spans

    return find


def _opens_a_body(bare: str, depth: NDArray[np.int64], start: int) -> bool:
    """Whether the string that starts here is the first statement of a module, class or function."""
    before = bare[:start].replace(_HIDDEN, " ").rstrip()
    if not before:
        return True
    if depth[start] or not before.endswith(":"):
        return False
    heads = [match[1] for match in _HEAD.finditer(before)]
    return bool(heads) and heads[-1] in ("class", "def")
