"""The tables of a file of notes, and every step by which an older file becomes today's.

Rows are added and never changed, but for when and by whom they were ended (replaced or removed), and for what a label
remembers of its scores and of the choice. ``docs/formats.md`` is the specification.
"""

from __future__ import annotations

import functools
import sqlite3

from lexiscope.index.notes.stemmer import TOKENIZER

APPLICATION_ID = 0x4C784E6F
"""At byte 68 of the file: "LxNo"."""

_OWNED = """
    source INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    ended_by INTEGER"""


def _table(name: str, columns: str, *keys: str) -> list[str]:
    """A table whose rows say who wrote them, and indexes of its live rows and of its history."""
    made = [f"CREATE TABLE {name} (\n    id INTEGER PRIMARY KEY,\n    {columns},{_OWNED}\n)"]
    return made + [f"CREATE INDEX {name}_by_{key.split(',')[0]} ON {name} ({key})" for key in keys]


def _searchable(name: str, facets: str) -> list[str]:
    """A full-text index of what is live in a table: of its text, and of a few words of our own to filter by."""
    view = (
        f"CREATE VIEW {name}_live AS SELECT t.id AS id, t.text AS text, {facets} AS facets "  # noqa: S608
        f"FROM {name} AS t JOIN sources AS s ON s.id = t.source WHERE t.ended_at IS NULL"
    )
    index = (
        f"CREATE VIRTUAL TABLE {name}_words USING fts5(text, facets, content='{name}_live', content_rowid='id', "
        f"tokenize='{TOKENIZER}', prefix='1 2 3')"
    )
    return [view, index]


_BY = "'a' || s.author || ' k' || s.kind"
_ABOUT = "CAST(t.score * 100 AS INTEGER)"
_REACHED = f"min(max({_ABOUT} + (t.score >= ({_ABOUT} + 1) / 100.0) - (t.score < {_ABOUT} / 100.0), 0), 99)"
"""How many hundredths a score reaches. A product of doubles may be off by one; the quotients are those of Python."""
_SCORE = f"CASE WHEN t.score IS NULL THEN '' ELSE ' t' || ({_REACHED} / 10) || ' s' || {_REACHED} END"
_CHOSEN = "CASE WHEN t.chosen THEN ' c1' ELSE '' END"

_SOURCES = (
    "CREATE TABLE sources (id INTEGER PRIMARY KEY, author INTEGER NOT NULL, kind TEXT NOT NULL, method TEXT, "
    "model TEXT, prompt_hash TEXT, tool TEXT NOT NULL)"
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        _SOURCES,
        "CREATE INDEX sources_by_author ON sources (author, prompt_hash)",
        "CREATE TABLE vocabulary (word TEXT PRIMARY KEY, stem TEXT NOT NULL) WITHOUT ROWID",
        *_table(
            "labels",
            "feature INTEGER NOT NULL,\n    text TEXT NOT NULL,\n    score REAL,\n    chosen INTEGER NOT NULL",
            "feature",
        ),
        *_table(
            "scores",
            "label INTEGER NOT NULL,\n    name TEXT NOT NULL,\n    value REAL NOT NULL,\n    low REAL,\n    high REAL,"
            "\n    n INTEGER,\n    method TEXT",
            "label",
        ),
        *_table("pins", "feature INTEGER NOT NULL,\n    label INTEGER NOT NULL", "feature"),
        *_table(
            "ratings",
            "feature INTEGER NOT NULL,\n    items TEXT NOT NULL,\n    scale TEXT NOT NULL,\n    value REAL NOT NULL",
            "feature",
            "items, scale",
        ),
        *_table("bookmarks", "feature INTEGER NOT NULL", "feature"),
        *_table("tags", "feature INTEGER NOT NULL,\n    text TEXT NOT NULL", "feature", "text"),
        *_table("notes", "feature INTEGER,\n    text TEXT NOT NULL,\n    note INTEGER NOT NULL", "feature", "note"),
        *_table("lists", "name TEXT NOT NULL,\n    description TEXT NOT NULL,\n    list INTEGER NOT NULL", "list"),
        *_table(
            "items",
            "list INTEGER NOT NULL,\n    feature INTEGER NOT NULL,\n    description TEXT NOT NULL",
            "list, feature",
            "feature",
        ),
        *_table(
            "results",
            "feature INTEGER NOT NULL,\n    kind TEXT NOT NULL,\n    conditions TEXT NOT NULL,"
            "\n    payload TEXT NOT NULL",
            "feature, kind, conditions",
        ),
        *_searchable("labels", f"{_BY} || {_CHOSEN} || {_SCORE}"),
        *_searchable("notes", _BY),
        *_searchable("tags", _BY),
    ),
)
"""What made version 1, what makes version 2 of it, and so on. One that was released is never edited."""


def version() -> int:
    """Of the format that this package writes."""
    return len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, found: int) -> None:
    """Bring tables of an older version (0: none) up to date. Whoever calls holds a transaction."""
    for step in MIGRATIONS[found:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version()}")


Shape = frozenset[tuple[str, str, str]]


def shape(connection: sqlite3.Connection) -> Shape:
    """Everything that a file declares: kind, name and definition. Statistics that others may have made are left out."""
    rows = connection.execute(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' "
        "LIMIT 1000"
    )
    return frozenset((str(kind), str(name), str(sql)) for kind, name, sql in rows)


@functools.lru_cache
def expected_shape(number: int) -> Shape:
    """What a file of this version declares, and nothing else: no trigger or view of somebody else's."""
    connection = sqlite3.connect(":memory:")
    try:
        for step in MIGRATIONS[:number]:
            for statement in step:
                connection.execute(statement)
        return shape(connection)
    finally:
        connection.close()
