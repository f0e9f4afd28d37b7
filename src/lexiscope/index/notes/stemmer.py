"""Stemmer: what SQLite makes of words, and where in a text it finds them. Nothing but SQLite says so, so it is asked.

It is asked in memory, about a few words or texts: where a page of texts has what was searched for is then a matter of
that page, not of the million labels that it is from.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""Of every full-text index."""
_lock = threading.Lock()
_connection: sqlite3.Connection | None = None


def stems(words: Iterable[str]) -> dict[str, str]:
    """Word → stem. What the stemmer takes for several words, or for none, is its own stem."""
    found = list(words)
    terms = defaultdict(list)
    with _holding(found) as tx:
        for number, term in tx.execute("SELECT doc, term FROM terms"):
            terms[number].append(term)
    return {word: terms[number][0] if len(terms[number]) == 1 else word for number, word in enumerate(found)}


def marks(texts: Sequence[str], match: str) -> list[tuple[tuple[int, int], ...]]:
    """Where in each text stands what a query of FTS5 asks for of ``text``: from, and up to but not including."""
    found: list[tuple[tuple[int, int], ...]] = [() for _ in texts]
    begin, end = secrets.token_hex(16), secrets.token_hex(16)  # nothing that could be in a text
    with _holding(texts) as tx:
        rows = tx.execute("SELECT rowid, highlight(texts, 0, ?, ?) FROM texts WHERE texts MATCH ?", [begin, end, match])
        for number, text in rows:
            found[number] = tuple(_places(text, begin, end))
    return found


def _places(text: str, begin: str, end: str) -> Iterator[tuple[int, int]]:
    before, *pieces = text.split(begin)
    at = len(before)
    for piece in pieces:
        inside, _, after = piece.partition(end)
        yield at, at + len(inside)
        at += len(inside) + len(after)


@contextmanager
def _holding(texts: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """Texts in a full-text index in memory, numbered from 0."""
    with _lock:
        tx = _open()
        tx.execute("BEGIN")
        try:
            tx.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(texts))
            yield tx
        finally:
            tx.execute("ROLLBACK")


def _open() -> sqlite3.Connection:
    global _connection  # noqa: PLW0603  one for the process, as it is asked at every key that somebody presses
    if _connection is None:
        _connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        _connection.execute(f"CREATE VIRTUAL TABLE texts USING fts5(text, tokenize='{TOKENIZER}')")
        _connection.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(texts, instance)")
    return _connection
