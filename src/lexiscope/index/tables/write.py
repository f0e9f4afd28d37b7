"""The tables of an index beside its firings and its text. ``docs/formats.md`` specifies columns and their meaning.

- ``features/LOW.parquet``: one row per latent from LOW on, in order: what lists sort, filter and search by, and what
  directions do. Several files of small row groups, as what a question costs grows with the rows of a group and, for
  every column, with the groups of a file.
- ``tokens.parquet``: every token id with its text and how often it occurs, so that a reader needs no tokenizer.
- ``documents.parquet``: every document that was read.

F features, K entries of a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lexiscope.harvest.documents import DocumentInfo
from lexiscope.index.directions.effects import EffectShapes, LogitEffects
from lexiscope.index.directions.neighbours import Neighbours
from lexiscope.index.tables.parquet import column_of_text, write_parquet
from lexiscope.index.tables.rounding import rounded
from lexiscope.index.tables.summary import Summary
from lexiscope.text.tokenizer import Tokenizer

FEATURES, TOKENS, DOCUMENTS = "features", "tokens.parquet", "documents.parquet"

COLUMNS = {
    FEATURES: {
        "feature": "INTEGER",
        "dead": "BOOLEAN",
        "firings": "BIGINT",
        "density": "FLOAT",
        "max_activation": "FLOAT",
        "max_row": "BIGINT",
        "mean_activation": "FLOAT",
        "variety": "FLOAT",
        "documents": "INTEGER",
        "frequent_tokens": "INTEGER[]",
        "frequent_shares": "FLOAT[]",
        "kind_shares": "FLOAT[]",
        "promoted_tokens": "INTEGER[]",
        "promoted_effects": "FLOAT[]",
        "suppressed_tokens": "INTEGER[]",
        "suppressed_effects": "FLOAT[]",
        "effects_low": "FLOAT",
        "effects_high": "FLOAT",
        "effects_counts": "INTEGER[]",
        "effects_std": "FLOAT",
        "effects_skewness": "FLOAT",
        "effects_kurtosis": "FLOAT",
        "neighbour_features": "INTEGER[]",
        "neighbour_cosines": "FLOAT[]",
    },
    TOKENS: {"token": "INTEGER", "piece": "VARCHAR", "occurrences": "BIGINT"},
    DOCUMENTS: {"document": "INTEGER", "id": "VARCHAR", "kind": "VARCHAR", "licence": "VARCHAR", "heldout": "BOOLEAN"},
}
"""Table → column → DuckDB type."""
_SHAPES = ("low", "high", "std", "skewness", "kurtosis")
LIST_BITS = 13
"""Significant bits of what is in lists, four decimal digits: shares, cosines and effects, to be looked at."""
FEATURES_PER_FILE, _FEATURES_PER_GROUP = 1 << 16, 1 << 11


def features_file(low: int) -> str:
    return f"{FEATURES}/{low:010d}.parquet"


def write_features(
    folder: Path,
    summary: Summary,
    num_tokens: int,
    effects: tuple[LogitEffects, EffectShapes] | None,
    neighbours: Neighbours,
) -> None:
    """Write ``features/*.parquet``: one row per latent, in order. Without ``effects`` their columns are empty."""
    firings_F = summary.firings_B
    ends, shapes = effects or (None, None)
    lists: dict[str, NDArray[Any]] = {
        "frequent_tokens": summary.frequent_tokens_BK,
        "frequent_shares": summary.frequent_shares_BK,
        "kind_shares": summary.kind_shares_BC,
        **{name: np.empty((len(firings_F), 0)) for name in (*LogitEffects._fields, "effects_counts")},
        **{name: table_FK.numpy() for name, table_FK in (ends._asdict() if ends else {}).items()},
        **({"effects_counts": shapes.counts_FB.numpy()} if shapes else {}),
        "neighbour_features": neighbours.features_FK.numpy(),
        "neighbour_cosines": neighbours.cosines_FK.numpy(),
    }
    lengths = {
        **{name: (summary.frequent_tokens_BK >= 0).sum(1) for name in ("frequent_tokens", "frequent_shares")},
        **{name: (neighbours.features_FK >= 0).sum(1).numpy() for name in ("neighbour_features", "neighbour_cosines")},
    }
    numbers: dict[str, NDArray[Any]] = {
        "feature": np.arange(len(firings_F), dtype=np.int32),
        "dead": firings_F == 0,
        "firings": firings_F,
        "density": (firings_F / num_tokens).astype(np.float32),
        "max_activation": summary.max_activations_B,
        "max_row": summary.max_rows_B,
        "mean_activation": summary.mean_activations_B,
        "variety": summary.varieties_B,
        "documents": summary.documents_B,
        **({f"effects_{name}": getattr(shapes, f"{name}_F").numpy() for name in _SHAPES} if shapes else {}),
    }
    (folder / FEATURES).mkdir(exist_ok=True)
    for low in range(0, max(len(firings_F), 1), FEATURES_PER_FILE):
        rows = slice(low, low + FEATURES_PER_FILE)
        batch = {name: np.ascontiguousarray(column[rows]) for name, column in numbers.items()}
        terms = {name: name if name in numbers else "NULL" for name in COLUMNS[FEATURES]}
        for name, table_FK in lists.items():
            length = lengths[name][rows] if name in lengths else None
            part_FK = table_FK[rows]
            if part_FK.dtype == np.float32:
                part_FK = rounded(part_FK, LIST_BITS)
            terms[name] = _add_lists(batch, name, part_FK, length)
        write_parquet(folder / features_file(low), batch, COLUMNS[FEATURES], terms, _FEATURES_PER_GROUP)


def _add_lists(
    batch: dict[str, NDArray[Any]], name: str, table_FK: NDArray[Any], lengths_F: NDArray[Any] | None
) -> str:
    """Add the columns of a table to a batch. Returns the SQL that makes one list of each row, as long as it is."""
    parts = [f"{name}_{place}" for place in range(table_FK.shape[1])]
    batch |= {part: np.ascontiguousarray(table_FK[:, place]) for place, part in enumerate(parts)}
    whole = f"list_value({', '.join(parts)})" if parts else "[]"
    if lengths_F is None:
        return whole
    batch[f"{name}_length"] = lengths_F
    return f"list_slice({whole}, 1, {name}_length)"


def write_tokens(path: Path, tokenizer: Tokenizer, occurrences_V: NDArray[np.int64]) -> None:
    columns = {
        "token": np.arange(len(occurrences_V), dtype=np.int32),
        "piece": column_of_text([tokenizer.piece(token) for token in range(len(occurrences_V))]),
        "occurrences": occurrences_V,
    }
    write_parquet(path, columns, COLUMNS[TOKENS])


def write_documents(path: Path, documents: Sequence[DocumentInfo]) -> None:
    columns: Mapping[str, NDArray[Any]] = {
        "document": np.arange(len(documents), dtype=np.int32),
        "id": column_of_text([document.id for document in documents]),
        "kind": column_of_text([document.kind for document in documents]),
        "licence": column_of_text([document.licence for document in documents]),
        "heldout": np.array([document.heldout for document in documents], dtype=bool),
    }
    write_parquet(path, columns, COLUMNS[DOCUMENTS])
