"""The files of an index. Columns and their meaning are specified in ``docs/formats.md``.

- ``features.parquet``: one row per latent, in order.
- ``examples.parquet``: sorted by feature, then as they are shown; a window of tokens with the feature's activations.
- ``tokens.parquet``: every token id with its text and how often it occurs, so that a reader needs no tokenizer.
- ``documents.parquet``: every document that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.parquet import connect
from lexiscope.harvest.documents import DocumentInfo
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.directions import LogitEffects, Neighbours
from lexiscope.index.examples import Example
from lexiscope.index.histogram import Histogram
from lexiscope.index.parquet import column_of_lists, column_of_text, copy_to_parquet, write_parquet
from lexiscope.index.tokens import TokenStatistics
from lexiscope.text.tokenizer import Tokenizer

FEATURES, EXAMPLES, TOKENS, DOCUMENTS = "features.parquet", "examples.parquet", "tokens.parquet", "documents.parquet"

_FEATURE_COLUMNS = {
    "feature": "INTEGER",
    "dead": "BOOLEAN",
    "firings": "BIGINT",
    "density": "DOUBLE",
    "max_activation": "FLOAT",
    "mean_activation": "FLOAT",
    "variety": "FLOAT",
    "histogram_low": "FLOAT",
    "histogram_high": "FLOAT",
    "histogram_counts": "BIGINT[]",
    "frequent_tokens": "INTEGER[]",
    "frequent_shares": "FLOAT[]",
    "frequent_coverages": "FLOAT[]",
    "frequent_means": "FLOAT[]",
    "preceding_tokens": "INTEGER[]",
    "preceding_shares": "FLOAT[]",
    "kind_shares": "FLOAT[]",
    "promoted_tokens": "INTEGER[]",
    "promoted_effects": "FLOAT[]",
    "suppressed_tokens": "INTEGER[]",
    "suppressed_effects": "FLOAT[]",
    "neighbour_features": "INTEGER[]",
    "neighbour_cosines": "FLOAT[]",
}
_EXAMPLE_COLUMNS = {
    "feature": "INTEGER",
    "rank": "SMALLINT",
    "section": "VARCHAR",
    "band": "TINYINT",
    "activation": "FLOAT",
    "token_row": "BIGINT",
    "document": "INTEGER",
    "position": "INTEGER",
    "focus": "SMALLINT",
    "tokens": "INTEGER[]",
    "activations": "FLOAT[]",
}
COLUMNS = {
    FEATURES: _FEATURE_COLUMNS,
    EXAMPLES: _EXAMPLE_COLUMNS,
    TOKENS: {"token": "INTEGER", "piece": "VARCHAR", "occurrences": "BIGINT"},
    DOCUMENTS: {"document": "INTEGER", "id": "VARCHAR", "kind": "VARCHAR", "licence": "VARCHAR", "heldout": "BOOLEAN"},
}
"""File → column → DuckDB type."""
_EXAMPLES_AT_ONCE = 20_000


class Measured(NamedTuple):
    """The columns of ``features.parquet`` that come from the firings of one latent."""

    firings: int
    density: float
    max_activation: float
    mean_activation: float
    variety: float
    histogram_low: float
    histogram_high: float
    histogram_counts: NDArray[np.int64]
    frequent_tokens: NDArray[np.int32]
    frequent_shares: NDArray[np.float32]
    frequent_coverages: NDArray[np.float32]
    frequent_means: NDArray[np.float32]
    preceding_tokens: NDArray[np.int32]
    preceding_shares: NDArray[np.float32]
    kind_shares: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        values_N: NDArray[np.float32],
        num_tokens: int,
        histogram: Histogram,
        statistics: TokenStatistics,
        kind_shares: NDArray[np.float32],
    ) -> Measured:
        firings = len(values_N)
        return cls(
            firings,
            firings / num_tokens,
            float(values_N.max()) if firings else 0.0,
            float(values_N.mean(dtype=np.float64)) if firings else 0.0,
            statistics.variety,
            histogram.low,
            histogram.high,
            histogram.counts,
            statistics.tokens_K,
            statistics.shares_K,
            statistics.coverages_K,
            statistics.means_K,
            statistics.preceding_K,
            statistics.preceding_shares_K,
            kind_shares,
        )


def write_features(
    path: Path, measured: Sequence[Measured], effects: LogitEffects | None, neighbours: Neighbours
) -> None:
    """Write ``features.parquet``: one row per latent, in order. Without ``effects`` their lists are empty."""
    there_FK = neighbours.features_FK >= 0
    values: dict[str, Sequence[Any]] = {
        "feature": range(len(measured)),
        "dead": [row.firings == 0 for row in measured],
        **dict(zip(Measured._fields, zip(*measured, strict=True), strict=True)),
        **{name: [np.empty(0, dtype=np.float32)] * len(measured) for name in LogitEffects._fields},
        **{name: list(table_FK.numpy()) for name, table_FK in (effects._asdict() if effects else {}).items()},
        "neighbour_features": [
            row_K[keep_K].numpy() for row_K, keep_K in zip(neighbours.features_FK, there_FK, strict=True)
        ],
        "neighbour_cosines": [
            row_K[keep_K].numpy() for row_K, keep_K in zip(neighbours.cosines_FK, there_FK, strict=True)
        ],
    }
    columns = {
        name: column_of_lists(values[name]) if kind.endswith("[]") else np.array(values[name])
        for name, kind in _FEATURE_COLUMNS.items()
    }
    write_parquet(path, columns, _FEATURE_COLUMNS)


class ExampleTable:
    """Collects examples in order of feature and writes ``examples.parquet``; most of them wait in DuckDB."""

    def __init__(self, store: ActivationStore) -> None:
        self._documents_T, self._positions_T = np.asarray(store.documents_T), np.asarray(store.positions_T)
        self._waiting: list[tuple[int, int, Example]] = []
        self._connection = connect()
        columns = ", ".join(f"{name} {kind}" for name, kind in _EXAMPLE_COLUMNS.items())
        self._connection.execute(f"CREATE TABLE examples ({columns})")

    def add(self, feature: int, examples: Sequence[Example]) -> None:
        self._waiting += [(feature, rank, example) for rank, example in enumerate(examples)]
        if len(self._waiting) >= _EXAMPLES_AT_ONCE:
            self._insert()

    def write(self, path: Path) -> None:
        self._insert()
        copy_to_parquet(self._connection, "examples", path)
        self._connection.close()

    def _insert(self) -> None:
        if not self._waiting:
            return
        features, ranks, examples = zip(*self._waiting, strict=True)
        rows = np.array([example.row for example in examples])
        batch: dict[str, NDArray[Any]] = {
            "feature": np.array(features, dtype=np.int32),
            "rank": np.array(ranks, dtype=np.int16),
            "section": column_of_text([example.section for example in examples]),
            "band": np.array([example.band for example in examples], dtype=np.int8),
            "activation": np.array([example.activation for example in examples], dtype=np.float32),
            "token_row": rows,
            "document": self._documents_T[rows],
            "position": self._positions_T[rows],
            "focus": np.array([example.focus for example in examples], dtype=np.int16),
            "tokens": column_of_lists([example.tokens_W for example in examples]),
            "activations": column_of_lists([example.activations_W for example in examples]),
        }
        self._connection.register("batch", batch)
        self._connection.execute(f"INSERT INTO examples SELECT {', '.join(_EXAMPLE_COLUMNS)} FROM batch")  # noqa: S608
        self._connection.unregister("batch")
        self._waiting.clear()


def write_tokens(path: Path, tokenizer: Tokenizer, occurrences_V: NDArray[np.int64]) -> None:
    columns = {
        "token": np.arange(len(occurrences_V), dtype=np.int32),
        "piece": column_of_text([tokenizer.piece(token) for token in range(len(occurrences_V))]),
        "occurrences": occurrences_V,
    }
    write_parquet(path, columns, COLUMNS[TOKENS])


def write_documents(path: Path, documents: Sequence[DocumentInfo]) -> None:
    columns: dict[str, NDArray[Any]] = {
        "document": np.arange(len(documents), dtype=np.int32),
        "id": column_of_text([document.id for document in documents]),
        "kind": column_of_text([document.kind for document in documents]),
        "licence": column_of_text([document.licence for document in documents]),
        "heldout": np.array([document.heldout for document in documents], dtype=bool),
    }
    write_parquet(path, columns, COLUMNS[DOCUMENTS])
