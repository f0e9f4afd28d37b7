"""Table: rows that say who wrote them and when, that are only ever added to, and read back as typed values."""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from lexiscope.core.config import describe
from lexiscope.index.notes.values import By, Written

MOST_ROWS = 100_000
"""Of one answer; no page has so many, but a file of a stranger may."""
V = TypeVar("V", bound=Written)
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_BY = ("author", "kind", "method", "model", "prompt_hash", "tool")


def microseconds(when: datetime | None = None) -> int:
    """Since 1970, UTC; None is now."""
    return time.time_ns() // 1000 if when is None else (when - _EPOCH) // _MICROSECOND


def moment(count: int) -> datetime:
    return _EPOCH + timedelta(microseconds=count)


def as_list(numbers: Iterable[int]) -> str:
    """For ``IN (SELECT value FROM json_each(?))``."""
    return json.dumps(list(numbers))


def source_of(tx: sqlite3.Connection, by: By) -> int:
    """The number of who wrote something, given one if it is new."""
    tx.execute(
        "INSERT INTO authors (name) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM authors WHERE name = ?)", [by.author] * 2
    )
    (author,) = tx.execute("SELECT id FROM authors WHERE name = ?", [by.author]).fetchone()
    values = [author, by.prompt_hash, by.kind, by.method, by.model, by.tool]
    found = tx.execute(
        "SELECT id FROM sources WHERE author = ? AND prompt_hash IS ? AND kind = ? AND method IS ? AND model IS ? "
        "AND tool = ?",
        values,
    ).fetchone()
    if found is not None:
        return int(found[0])
    made = tx.execute(
        "INSERT INTO sources (author, prompt_hash, kind, method, model, tool) VALUES (?, ?, ?, ?, ?, ?)", values
    )
    assert made.lastrowid is not None
    return made.lastrowid


class Table(Generic[V]):
    """One table of rows.

    Attributes:
        columns: those that are its own.
    """

    def __init__(self, name: str, value: type[V], *columns: str) -> None:
        self.name, self.value, self.columns = name, value, columns
        self._json = {"payload"} & set(columns)
        who = [f"{table}.{column}" for table in ("s", "e") for column in _BY[1:]]
        self._select = (
            f"SELECT t.id, t.created_at, t.ended_at, w.name, v.name, {', '.join(who)}"
            f"{''.join(f', t.{column}' for column in columns)} FROM {name} AS t "
            "LEFT JOIN sources AS s ON s.id = t.source LEFT JOIN authors AS w ON w.id = s.author "
            "LEFT JOIN sources AS e ON e.id = t.ended_by LEFT JOIN authors AS v ON v.id = e.author"
        )

    def next_id(self, tx: sqlite3.Connection) -> int:
        """Rows are never deleted, so a number is never given twice."""
        return int(tx.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {self.name}").fetchone()[0])

    def insert(self, tx: sqlite3.Connection, source: int, at: int, *values: Any) -> int:
        """Add a row: a value for each column of its own."""
        added = self.next_id(tx)
        tx.execute(self.insertion, [added, source, at, None, None, *values])
        return added

    @property
    def insertion(self) -> str:
        """Takes id, source, created_at, ended_at, ended_by, then the columns of its own."""
        names = ("id", "source", "created_at", "ended_at", "ended_by", *self.columns)
        return f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

    def end(self, tx: sqlite3.Connection, ids: Iterable[int], source: int, at: int) -> None:
        """Rows that are no longer so from now on. Those that have ended already stay as they are."""
        tx.execute(
            f"UPDATE {self.name} SET ended_at = ?, ended_by = ? "
            "WHERE id IN (SELECT value FROM json_each(?)) AND ended_at IS NULL",
            [at, source, as_list(ids)],
        )

    def select(
        self,
        tx: sqlite3.Connection,
        where: str = "true",
        values: Sequence[Any] = (),
        *,
        history: bool = False,
        order: str = "t.id DESC",
        limit: int = MOST_ROWS,
        offset: int = 0,
    ) -> list[V]:
        """Rows as values; with ``history`` also those that have ended."""
        live = "" if history else " AND t.ended_at IS NULL"
        rows = tx.execute(
            f"{self._select} WHERE ({where}){live} ORDER BY {order} LIMIT ? OFFSET ?", [*values, limit, offset]
        )
        return [self._value(row) for row in rows]

    def count(self, tx: sqlite3.Connection, where: str = "true", values: Sequence[Any] = ()) -> int:
        """Of live rows."""
        found = tx.execute(f"SELECT count(*) FROM {self.name} AS t WHERE ({where}) AND t.ended_at IS NULL", [*values])
        return int(found.fetchone()[0])

    def _value(self, row: Sequence[Any]) -> V:
        """Raises sqlite3.DatabaseError: what is in the file is of another type than it should be."""
        own = dict(zip(self.columns, row[15:], strict=True))
        try:
            for column in self._json:
                own[column] = json.loads(own[column])
            return self.value.model_validate(
                {
                    **own,
                    "id": row[0],
                    "created_at": moment(row[1]),
                    "by": dict(zip(_BY, (row[3], *row[5:10]), strict=True)),
                    "ended_at": None if row[2] is None else moment(row[2]),
                    "ended_by": None if row[4] is None else dict(zip(_BY, (row[4], *row[10:15]), strict=True)),
                },
            )
        except ValidationError as error:
            raise sqlite3.DatabaseError(f"{self.name}: {describe(error)}") from None
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            raise sqlite3.DatabaseError(f"{self.name}: {error}") from None
