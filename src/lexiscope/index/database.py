"""Database: the Parquet files of an index as tables that can be asked. SQL lives here and nowhere else."""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

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
    "variety",
    "tokens",
    "promoted",
)
EXAMPLE = ("activation", "focus", "tokens", "activations", "id", "kind", "licence", "position", "heldout")

MOST_TOKENS = 1 << 24
MOST_PIECE_BYTES = 1 << 16
"""No vocabulary has more tokens, or a longer one."""

_MEASURE = """
SELECT (SELECT count(*) FROM features), (SELECT count(*) FROM tokens), (SELECT max(strlen(piece)) FROM tokens)
"""
_CREATE_SUMMARIES = """
CREATE TABLE summaries AS
WITH words AS (
    SELECT feature, lower(string_agg(piece, chr(31))) AS search_text
    FROM (SELECT feature, unnest(list_concat(frequent_tokens, promoted_tokens)) AS token FROM features)
    JOIN tokens USING (token) GROUP BY feature
)
SELECT feature, dead, firings, density, max_activation, mean_activation, variety,
       frequent_tokens[1:6] AS tokens, promoted_tokens[1:6] AS promoted, coalesce(search_text, '') AS search_text
FROM features LEFT JOIN words USING (feature) ORDER BY feature
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
            self._connection.execute(_CREATE_SUMMARIES)
        except duckdb.Error as error:
            raise trouble(artifact.path, error, "build the index again") from None

    def pieces(self) -> list[str]:
        """The text of every token, by id."""
        return [piece for (piece,) in self._rows("SELECT piece FROM tokens ORDER BY token")]

    def firings(self) -> list[int]:
        """How often each feature fires, in order."""
        return [firings for (firings,) in self._rows("SELECT firings FROM summaries ORDER BY feature")]

    def matching(self, search: str) -> int:
        """How many features match a search."""
        where, values = _condition(search)
        [(count,)] = self._rows(f"SELECT count(*) FROM summaries WHERE {where}", values)
        return cast(int, count)

    def page(self, search: str, sort: SortKey, *, descending: bool, limit: int, offset: int) -> list[Row]:
        """`SUMMARY` of the features that match, the dead ones last."""
        where, values = _condition(search)
        order = f"dead, {sort} {'DESC' if descending else 'ASC'}, feature"
        return self._rows(
            f"SELECT {', '.join(SUMMARY)} FROM summaries WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )

    def summaries(self, features: Sequence[int]) -> list[Row]:
        """`SUMMARY` of some features, in any order."""
        return self._rows(
            f"SELECT {', '.join(SUMMARY)} FROM summaries WHERE feature IN (SELECT unnest(?))", [list(features)]
        )

    def details(self, feature: int) -> dict[str, Any]:
        """The row of ``features.parquet``, by column."""
        cursor = self._cursor().execute("SELECT * FROM features WHERE feature = ?", [feature])
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))

    def examples(self, feature: int) -> list[Row]:
        """Section, band, then `EXAMPLE`, of all examples of a feature as they are shown."""
        return self._rows(
            f"SELECT section, band, {', '.join(EXAMPLE)} FROM examples JOIN documents USING (document) "
            "WHERE feature = ? ORDER BY rank",
            [feature],
        )

    def first_examples(self, features: Sequence[int]) -> list[Row]:
        """Feature, then `EXAMPLE`, of the strongest example of some features."""
        return self._rows(
            f"SELECT feature, {', '.join(EXAMPLE)} FROM examples JOIN documents USING (document) "
            "WHERE feature IN (SELECT unnest(?)) AND rank = 0",
            [list(features)],
        )

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return cast(list[Row], self._cursor().execute(sql, list(values)).fetchall())

    def _cursor(self) -> Any:
        with self._lock:
            return self._connection.cursor()


def _condition(search: str) -> tuple[str, list[Any]]:
    """A condition on ``summaries`` and its values."""
    wanted = search.strip().lower()
    if wanted.startswith("#") and wanted[1:].isdecimal() and len(wanted) < 12:
        return "feature = ?", [int(wanted[1:])]
    return ("contains(search_text, ?)", [wanted]) if wanted else ("true", [])
