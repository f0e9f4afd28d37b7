"""Search: labels, notes and tags by their words, best match first.

Best match is bm25. Of a word that hundreds of thousands of labels have, ranking them all takes half a second and tells
little (they all have it), so only the newest ``RANKED`` matches are ranked (with several words or filters fewer, as
each takes its time); after them come the others, newest first. So the order is exact where all that match were ranked,
and else that of the newest only. The count is always exact, every match can be paged to, and `Found.ranked` says how
many were ranked.
"""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from lexiscope.core.errors import InputError
from lexiscope.index.notes.labels import LABELS, Labels
from lexiscope.index.notes.marks import NOTES, TAGS
from lexiscope.index.notes.room import Room
from lexiscope.index.notes.stemmer import marks
from lexiscope.index.notes.table import Table, as_list
from lexiscope.index.notes.values import LARGEST, Kind, Label, Note, Tag, Value
from lexiscope.index.notes.words import Match, match, read_query

RANKED = 10_000
_MOST_RANKED_PHRASES = 16
MOST_HITS = 500
"""On a page."""
_LONGEST_SNIPPET = 240
_BEFORE_FIRST_MARK = 60
_EVERYTHING = "(khuman OR kmodel OR kheuristic)"
"""Whatever there is is filed under one of these."""
Among = Literal["labels", "notes", "tags"]
_TABLES: dict[str, Table[Any]] = {"labels": LABELS, "notes": NOTES, "tags": TAGS}


class Hit(Value):
    """A label, note or tag that was found.

    Attributes:
        snippet: its text, or a part of it if it is long.
        start: where in the text the snippet begins.
        marks: where in the snippet what was searched for stands: from, and up to but not including. In characters
            (code points), as Python counts.
    """

    feature: int | None
    found: Label | Note | Tag
    snippet: str
    start: int
    marks: tuple[tuple[int, int], ...]


class Found(Value):
    """A page of what was found.

    Attributes:
        matching: how many match in all, exactly.
        ranked: how many of them, the newest, were ranked and come first; the rest follows, newest first.
    """

    query: str
    among: Among
    hits: tuple[Hit, ...]
    matching: int
    ranked: int
    offset: int
    limit: int


class Search(Room):
    """Full-text search."""

    def __call__(
        self,
        query: str,
        among: Among = "labels",
        *,
        author: str | None = None,
        kind: Kind | None = None,
        chosen: bool = False,
        min_score: float | None = None,
        as_typed: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> Found:
        """What has all these words; no words: everything, newest first.

        Args:
            query: words, "words in this order", beginn* of words.
            chosen: only labels that are the ones to show.
            min_score: only labels with at least this score, in hundredths.
            as_typed: the last word may not be finished.

        Raises:
            InputError: it is too long, or asks for what there is none of among these.
        """
        if not 0 <= limit <= MOST_HITS or not 0 <= offset < 2**31:
            raise InputError(f"a page has 0 to {MOST_HITS} hits and starts at 0 or later; ask for another one")
        if among != "labels" and (chosen or min_score is not None):
            raise InputError(f"{among} have no score and none is chosen; leave these filters out")
        terms = read_query(query, as_typed=as_typed)
        matching = ranked = 0
        hits: list[Hit] = []
        with self.database.read() as tx:
            words = match(tx, terms) if terms else None
            facets = _facets(tx, author=author, kind=kind, chosen=chosen, min_score=min_score)
            if facets is not None and (words is not None or not query.strip()):
                asked = _Asked(f"{among}_words", words, facets)
                ids, matching, ranked = _page(tx, asked, limit, offset)
                hits = self._hits(tx, among, ids, words)
        return Found(
            query=query, among=among, hits=tuple(hits), matching=matching, ranked=ranked, offset=offset, limit=limit
        )

    def _hits(self, tx: sqlite3.Connection, among: Among, ids: Sequence[int], words: Match | None) -> list[Hit]:
        table = _TABLES[among]
        rows = table.select(tx, "t.id IN (SELECT value FROM json_each(?))", [as_list(ids)])
        if among == "labels":
            rows = Labels(self.database).filled(tx, rows)
        by_id = {row.id: row for row in rows}
        if not by_id.keys() >= set(ids):
            raise sqlite3.DatabaseError(f"{among}: the full-text index has rows that are not there")
        found = [by_id[number] for number in ids]
        places = marks([row.text for row in found], words.text) if words else itertools.repeat(())
        hits = []
        for row, marked in zip(found, places, strict=False):
            snippet, start, inside = _cut(row.text, marked)
            hits.append(Hit(feature=row.feature, found=row, snippet=snippet, start=start, marks=inside))
        return hits


class _Asked(NamedTuple):
    """What to look for.

    Attributes:
        facets: words of our own that the row is filed under.
    """

    table: str
    words: Match | None
    facets: list[str]

    @property
    def whole(self) -> str:
        """In the language of FTS5."""
        words = [self.words.text] if self.words else []
        facets = self.facets if words or self.facets else [_EVERYTHING]
        return " AND ".join([*words, *(f"{{facets}} : {facet}" for facet in facets)])

    @property
    def most_ranked(self) -> int:
        return RANKED // (self.words.phrases + len(self.facets)) if self.words else 0

    def count(self, tx: sqlite3.Connection) -> int:
        """How many match."""
        if self.words or self.facets:
            counted = tx.execute(f"SELECT count(*) FROM {self.table} WHERE {self.table} MATCH ?", [self.whole])
        else:
            counted = tx.execute(f"SELECT count(*) FROM {self.table}_docsize")
        return int(counted.fetchone()[0])


def _facets(
    tx: sqlite3.Connection, *, author: str | None, kind: str | None, chosen: bool, min_score: float | None
) -> list[str] | None:
    """The words of our own by which to filter; None if nobody has written under this name."""
    facets = [f"k{kind}"] if kind else []
    if author is not None:
        found = tx.execute("SELECT id FROM authors WHERE name = ?", [author]).fetchone()
        if found is None:
            return None
        facets.append(f"a{int(found[0])}")
        other = "SELECT EXISTS (SELECT 1 FROM sources WHERE author = ? AND kind <> ?)"
        if kind and not tx.execute(other, [found[0], kind]).fetchone()[0]:
            facets.pop(0)  # says nothing more, and takes its time
    if chosen:
        facets.append("c1")
    if min_score is not None:
        facets.append(_at_least(min_score))
    return facets


def _at_least(score: float) -> str:
    """Scores are filed by tenths and by hundredths.

    Raises:
        InputError: it is no hundredth.
    """
    hundredths = round(score * 100) if abs(score) < 1 else 0
    if not 1 <= hundredths <= 99 or hundredths / 100 != score:
        raise InputError("the least score is 0.01 to 0.99 in steps of 0.01; give one of these")
    tens, ones = divmod(hundredths, 10)
    begun = [f"s{tens}{one}" if tens else f"s{one}" for one in range(ones, 10)] if ones else []
    whole = [f"t{ten}" for ten in range(tens + bool(ones), 10)]
    return f"({' OR '.join([*begun, *whole])})"


def _page(tx: sqlite3.Connection, asked: _Asked, limit: int, offset: int) -> tuple[list[int], int, int]:
    """Rows of a page, how many match, and how many of these were ranked."""
    best = _best(tx, asked) if asked.words and asked.words.phrases <= _MOST_RANKED_PHRASES else []
    ids, ranked = best[offset : offset + limit], len(best)
    if 0 < ranked < asked.most_ranked:
        return ids, ranked, ranked
    if len(ids) < limit:
        below = min(best, default=LARGEST)
        ids += _newest(tx, asked, limit - len(ids), max(offset - ranked, 0), below)
    return ids, asked.count(tx), ranked


def _newest(tx: sqlite3.Connection, asked: _Asked, limit: int, offset: int = 0, below: int = LARGEST) -> list[int]:
    """Rows from the newest to the oldest, of those below a number."""
    rows = tx.execute(
        f"SELECT rowid FROM {asked.table} WHERE {asked.table} MATCH ? AND rowid < ? "
        "ORDER BY rowid DESC LIMIT ? OFFSET ?",
        [asked.whole, below, limit, offset],
    )
    return [number for (number,) in rows]


def _best(tx: sqlite3.Connection, asked: _Asked) -> list[int]:
    """The newest that match, the best first.

    bm25 counts every word of a query in the whole index. Words of our own are in most labels and say nothing of how
    well one matches, so they are left out of it: what they let through is found first.
    """
    assert asked.words is not None
    index, query = asked.table, asked.words.text
    few = asked.most_ranked
    among = f"ORDER BY rowid DESC LIMIT {few}"
    values: list[str | int] = [query]
    if asked.facets:
        newest = _newest(tx, asked, few)
        among = "AND rowid >= ? AND +rowid IN (SELECT value FROM json_each(?))"
        values += [min(newest, default=0), as_list(newest)]
    rows = tx.execute(
        f"SELECT id FROM (SELECT rowid AS id, bm25({index}, 1.0, 0.0) AS badness FROM {index} "
        f"WHERE {index} MATCH ? {among}) ORDER BY badness, id DESC",
        values,
    )
    return [number for (number,) in rows]


def _cut(text: str, marks: Sequence[tuple[int, int]]) -> tuple[str, int, tuple[tuple[int, int], ...]]:
    """A part of a long text with the first mark in it; marks as they are in that part."""
    start = 0
    if len(text) > _LONGEST_SNIPPET and marks:
        start = max(0, min(marks[0][0] - _BEFORE_FIRST_MARK, len(text) - _LONGEST_SNIPPET))
        start = next((at + 1 for at in range(start, marks[0][0]) if text[at].isspace()), start) if start else 0
    stop = min(len(text), start + _LONGEST_SNIPPET)
    inside = itertools.takewhile(lambda mark: mark[1] <= stop, marks)
    return text[start:stop], start, tuple((low - start, high - start) for low, high in inside if low >= start)
