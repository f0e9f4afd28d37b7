"""Database: the Parquet files of an index as tables that can be asked. SQL lives here and nowhere else."""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import ArtifactError
from lexiscope.core.parquet import connect, scan, trouble
from lexiscope.index.tables.listing import COLUMNS as COLUMNS_OF_LISTING
from lexiscope.index.tables.write import COLUMNS, FEATURES

Row = tuple[Any, ...]

MOST_TOKENS = 1 << 24
MOST_PIECE_BYTES = 1 << 16
"""No vocabulary has more tokens, or a longer one."""
MOST_DOCUMENTS_HELD = 1 << 17
"""Of more, only those that are asked for are read."""

_DETAILS = "kind_shares, promoted_tokens, promoted_effects, suppressed_tokens, suppressed_effects, neighbour_features, "
_DETAILS += "neighbour_cosines, effects_low AS low, effects_high AS high, effects_counts AS counts, "
_DETAILS += "effects_std AS std, effects_skewness AS skewness, effects_kurtosis AS kurtosis"
_MEASURE = """
SELECT (SELECT count(*) FROM features), (SELECT count(*) FROM tokens), (SELECT max(strlen(piece)) FROM tokens)
"""


class Database:
    """Answers in plain Python values. Safe to share between threads."""

    def __init__(self, artifact: Artifact, num_features: int) -> None:
        """Raises ArtifactError: files that no index has."""
        import duckdb

        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._connection = connect()
        self._features = _files(artifact, FEATURES)
        self._lows = [int(path.stem) for path in self._features] if len(self._features) > 1 else [0]
        # Without GLOBAL it would hold for no cursor, and every question would read half a megabyte of footer again.
        self._connection.execute("SET GLOBAL parquet_metadata_cache = true")
        try:
            for name, columns in COLUMNS.items():
                view = name.removesuffix(".parquet")
                paths = _files(artifact, name)
                self._connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {scan(*paths)}")
                if {column: kind for column, kind, *_ in self._rows(f"DESCRIBE {view}")} != columns:
                    raise ArtifactError(f"{paths[0]} has not the columns of an index; build the index again")
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

    def columns(self) -> Mapping[str, Any]:
        """What a `Listing` is made of.

        Raises:
            ValueError: features are not there in order.
        """
        found = self.cursor().execute(f"SELECT feature, {COLUMNS_OF_LISTING} FROM features").fetchnumpy()
        features = found.pop("feature")
        if np.ma.is_masked(features) or (features != np.arange(len(features))).any():
            raise ValueError("features out of order")
        return cast(Mapping[str, Any], found)

    def details(self, feature: int) -> dict[str, Any]:
        """The lists of a feature, by column."""
        path = self._features[bisect_right(self._lows, feature) - 1]
        cursor = self.cursor().execute(f"SELECT {_DETAILS} FROM {scan(path)} WHERE feature = {int(feature)}")
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))

    def documents(self, ordinals: Sequence[int]) -> dict[int, Row]:
        """Id, kind, licence and whether it is held out, of some documents."""
        if self._num_documents <= MOST_DOCUMENTS_HELD:
            held = self._held_documents
            return {ordinal: held[ordinal] for ordinal in ordinals}
        return self._find_documents(f"document IN ({_numbers(ordinals)})")

    @cached_property
    def _num_documents(self) -> int:
        [(count,)] = self._rows("SELECT count(*) FROM documents")
        return cast(int, count)

    @cached_property
    def _held_documents(self) -> dict[int, Row]:
        return self._find_documents("true")

    def _find_documents(self, condition: str) -> dict[int, Row]:
        rows = self._rows(f"SELECT document, id, kind, licence, heldout FROM documents WHERE {condition}")
        return {row[0]: row[1:] for row in rows}

    def cursor(self) -> Any:
        """For one question after another; every thread has its own."""
        if not hasattr(self._of_thread, "cursor"):
            with self._lock:
                self._of_thread.cursor = self._connection.cursor()
        return self._of_thread.cursor

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return cast(list[Row], self.cursor().execute(sql, list(values)).fetchall())


def _files(artifact: Artifact, table: str) -> list[Path]:
    """One file, or those of a folder in order; older indexes have all features in one file."""
    name = table.removesuffix(".parquet")
    parts = sorted(file for file in artifact.manifest["files"] if file.startswith(f"{name}/"))
    return [artifact.file(file) for file in parts or [f"{name}.parquet"]]


def _numbers(numbers: Sequence[int]) -> str:
    """As SQL: written out, so that the reader skips what can't hold them."""
    return ", ".join(str(int(number)) for number in numbers) or "NULL"
