"""Database: the Parquet files of an index as tables that can be asked. SQL lives here and nowhere else."""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import ArtifactError
from lexiscope.core.parquet import connect, scan, trouble
from lexiscope.index.feature import SortKey
from lexiscope.index.tables import COLUMNS

Row = tuple[Any, ...]

SUMMARY = (
    "feature",
    "dead",
    "firings",
    "density",
    "max_activation",
    "mean_activation",
    "documents",
    "variety",
    "tokens",
    "promoted",
)
_SUMMARY = "feature, dead, firings, density, max_activation, mean_activation, documents, variety, "
_SUMMARY += "frequent_tokens[1:6] AS tokens, promoted_tokens[1:6] AS promoted"

MOST_TOKENS = 1 << 24
MOST_PIECE_BYTES = 1 << 16
"""No vocabulary has more tokens, or a longer one."""

_MEASURE = """
SELECT (SELECT count(*) FROM features), (SELECT count(*) FROM tokens), (SELECT max(strlen(piece)) FROM tokens)
"""


class Database:
    """Answers in plain Python values. Safe to share between threads."""

    def __init__(self, artifact: Artifact, num_features: int) -> None:
        """Raises ArtifactError: files that no index has."""
        import duckdb

        self._lock = threading.Lock()
        self._connection = connect()
        try:
            for name, columns in COLUMNS.items():
                view = name.removesuffix(".parquet")
                self._connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {scan(artifact.file(name))}")
                if {column: kind for column, kind, *_ in self._rows(f"DESCRIBE {view}")} != columns:
                    raise ArtifactError(f"{artifact.file(name)} has not the columns of an index; build the index again")
            # A small file may claim to hold a lot.
            (features, tokens, longest), *_ = self._rows(_MEASURE)
            if features != num_features or tokens > MOST_TOKENS or (longest or 0) > MOST_PIECE_BYTES:
                raise ArtifactError(f"{artifact.path} does not fit its manifest; build the index again")
        except duckdb.Error as error:
            raise trouble(artifact.path, error, "build the index again") from None

    def tokens(self) -> tuple[list[str], NDArray[np.int64]]:
        """The text of every token, by id, and how often it occurs."""
        rows = self._rows("SELECT piece, occurrences FROM tokens ORDER BY token")
        return [piece for piece, _ in rows], np.array([count for _, count in rows], dtype=np.int64)

    def firings(self) -> NDArray[np.int64]:
        """How often each feature fires, in order."""
        columns = self.cursor().execute("SELECT feature, firings FROM features ORDER BY feature").fetchnumpy()
        features, firings = columns["feature"], columns["firings"]
        if np.ma.is_masked(features) or np.ma.is_masked(firings) or (features != np.arange(len(features))).any():
            raise ValueError("features out of order")
        return np.asarray(firings, np.int64)

    def matching(self, condition: Condition) -> int:
        """How many features meet a condition."""
        [(count,)] = self._rows(f"SELECT count(*) FROM features WHERE {condition.sql}", condition.values)
        return cast(int, count)

    def page(self, condition: Condition, sort: SortKey, *, descending: bool, limit: int, offset: int) -> list[Row]:
        """`SUMMARY` and the row of the largest activation of the features that meet a condition, the dead ones last."""
        order = f"dead, {sort} {'DESC' if descending else 'ASC'}, feature"
        # Only then are the wide columns read, for the few rows of the page.
        inside = f"SELECT feature FROM features WHERE {condition.sql} ORDER BY {order} LIMIT ? OFFSET ?"
        numbers = [number for (number,) in self._rows(inside, [*condition.values, limit, offset])]
        found = {row[0]: row for row in self._summaries(f"{_SUMMARY}, max_row", numbers)}
        return [found[number] for number in numbers]

    def summaries(self, features: Sequence[int]) -> list[Row]:
        """`SUMMARY` of some features, in any order."""
        return self._summaries(_SUMMARY, features)

    def details(self, feature: int) -> dict[str, Any]:
        """The row of ``features.parquet``, by column."""
        cursor = self.cursor().execute(f"SELECT *, {_SUMMARY} FROM features WHERE feature = ?", [feature])
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))

    def documents(self, ordinals: Sequence[int]) -> dict[int, Row]:
        """Id, kind, licence and whether it is held out, of some documents."""
        rows = self._rows(
            f"SELECT document, id, kind, licence, heldout FROM documents WHERE document IN ({_numbers(ordinals)})"
        )
        return {row[0]: row[1:] for row in rows}

    def cursor(self) -> Any:
        """For one question; threads share the connection."""
        with self._lock:
            return self._connection.cursor()

    def _summaries(self, columns: str, features: Sequence[int]) -> list[Row]:
        return self._rows(f"SELECT {columns} FROM features WHERE feature IN ({_numbers(features)})")

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return cast(list[Row], self.cursor().execute(sql, list(values)).fetchall())


class Condition(NamedTuple):
    """On a row of ``features.parquet``."""

    sql: str
    values: list[Any]


EVERYTHING = Condition("true", [])


def is_feature(number: int) -> Condition:
    return Condition("feature = ?", [number])


def mentions(tokens: Sequence[int]) -> Condition:
    """One of these tokens is among those that a feature often fires on, or promotes most."""
    any_of = f"[{_numbers(tokens)}]::INTEGER[]"
    return Condition(f"(list_has_any(frequent_tokens, {any_of}) OR list_has_any(promoted_tokens, {any_of}))", [])


def _numbers(numbers: Sequence[int]) -> str:
    """As SQL: written out, so that the reader skips what can't hold them."""
    return ", ".join(str(int(number)) for number in numbers) or "NULL"
