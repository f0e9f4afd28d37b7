"""Words: the full-text indexes of labels, notes and tags, and the words that people type into a search box.

SQLite's stemmer takes "generally" for "gener". What somebody has typed half ("genera") begins no stem then, so the
words themselves are kept as well (``vocabulary``): a beginning of a word stands for the whole words that begin so.
"""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from lexiscope.core.errors import InputError
from lexiscope.index.notes.stemmer import stems
from lexiscope.index.notes.table import as_list

MOST_WORDS = 32
"""In a query."""
MOST_CHARACTERS = 1000
"""Of a query."""
_MOST_COMPLETIONS = 2000
_FEW_STEMS = 4
_PAGES_AT_ONCE = 2000
_AUTOMERGE = 4
"""SQLite's own choice: so many pieces are merged as soon as they are there."""
_WORD = re.compile(r"[^\W_]+")
_TYPED = re.compile(r'"([^"]*)"?|([^\s"]+)')


def fold(text: str) -> str:
    """Lower case without accents, as SQLite's ``unicode61`` compares."""
    text = text.lower()
    if text.isascii():
        return text
    plain = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    return unicodedata.normalize("NFC", plain)


def words_of(texts: Iterable[str]) -> set[str]:
    """Every word, folded."""
    return set(_WORD.findall(fold("\n".join(texts))))


def learn(tx: sqlite3.Connection, words: Iterable[str]) -> None:
    """Put words into the vocabulary."""
    tx.executemany("INSERT OR IGNORE INTO vocabulary VALUES (?, ?)", sorted(stems(words).items()))


def file_away_new(tx: sqlite3.Connection, table: str, first: int) -> None:
    """Put rows from this one on into the full-text index of their table.

    Many at once become a piece of the index that is merged with others when there are sixteen of them, not by and by.
    """
    index = f"{table}_words"
    set_merge = f"INSERT INTO {index} ({index}, rank) VALUES ('automerge', ?)"
    tx.execute(set_merge, [0])
    tx.execute(
        f"INSERT INTO {index} (rowid, text, facets) SELECT id, text, facets FROM {table}_live WHERE id >= ?", [first]
    )
    tx.execute("SAVEPOINT piece")  # now it is written
    tx.execute("RELEASE piece")
    tx.execute(set_merge, [_AUTOMERGE])


def file_away(tx: sqlite3.Connection, table: str, ids: Iterable[int]) -> None:
    """Put rows, as they are now, into the full-text index of their table."""
    tx.execute(
        f"INSERT INTO {table}_words (rowid, text, facets) SELECT id, text, facets FROM {table}_live "
        "WHERE id IN (SELECT value FROM json_each(?))",
        [as_list(ids)],
    )


def take_out(tx: sqlite3.Connection, table: str, ids: Iterable[int]) -> None:
    """The opposite; to be done before anything of the rows changes."""
    tx.execute(
        f"INSERT INTO {table}_words ({table}_words, rowid, text, facets) SELECT 'delete', id, text, facets "
        f"FROM {table}_live WHERE id IN (SELECT value FROM json_each(?))",
        [as_list(ids)],
    )


def tidy(tx: sqlite3.Connection, table: str, *, first: bool) -> bool:
    """A piece of the work of merging a full-text index into one; False when there is nothing left to do."""
    before = tx.total_changes
    tx.execute(
        f"INSERT INTO {table}_words ({table}_words, rank) VALUES ('merge', ?)",
        [-_PAGES_AT_ONCE if first else _PAGES_AT_ONCE],
    )
    return tx.total_changes - before > 1


class Term(NamedTuple):
    """A word of a query, or several that must stand in this order."""

    text: str
    beginning: bool
    """Whether its last word may go on."""


def read_query(query: str, *, as_typed: bool = False) -> list[Term]:
    """What somebody typed: words that must all occur, "several in this order", beginn* of words.

    Args:
        as_typed: the last word may not be finished.

    Raises:
        InputError: it is too long.
    """
    if len(query) > MOST_CHARACTERS or len(found := _TYPED.findall(query)) > MOST_WORDS:
        raise InputError(f"a search is at most {MOST_WORDS} words and {MOST_CHARACTERS} characters; leave some out")
    terms = []
    for number, (quoted, word) in enumerate(found):
        unfinished = as_typed and number == len(found) - 1 and query.endswith(word or "\0")
        parts = [part for part in re.split(r"[^\w]+", fold(quoted or word)) if _WORD.search(part)]
        if parts:
            terms.append(Term(" ".join(parts), bool(word) and (word.endswith("*") or unfinished)))
    return terms


class Match(NamedTuple):
    """A query in the language of FTS5.

    Attributes:
        phrases: how many words it has; ranking takes as much longer.
    """

    text: str
    phrases: int


def match(tx: sqlite3.Connection, terms: Iterable[Term]) -> Match | None:
    """Nothing of what was typed is ever syntax.

    Returns:
        None if nothing can match.
    """
    parts, phrases = [], 0
    for term in terms:
        either = [_quoted(term.text)]
        if term.beginning and _WORD.fullmatch(term.text) is None:
            either = [f"{either[0]} *"]
        elif term.beginning and not (either := _completions(tx, term.text)):
            return None
        parts.append(f"({' OR '.join(either)})")
        phrases += len(either)
    return Match("{text} : (" + " AND ".join(parts) + ")", phrases)


def _completions(tx: sqlite3.Connection, beginning: str) -> list[str]:
    """Words that stand for all that begin so: one for each stem, or the beginning itself and stems that are shorter."""
    rows = tx.execute(
        "SELECT min(word), stem FROM (SELECT word, stem FROM vocabulary WHERE word >= ? AND word < ? LIMIT ?) "
        "GROUP BY stem ORDER BY 1",
        [beginning, beginning + "\U0010ffff", _MOST_COMPLETIONS],
    ).fetchall()
    if len(rows) > _FEW_STEMS and stems([beginning])[beginning] == beginning:
        other = [str(word) for word, stem in rows if not str(stem).startswith(beginning)]
        return [f"{_quoted(beginning)} *", *map(_quoted, other)]
    return [_quoted(str(word)) for word, _ in rows]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
