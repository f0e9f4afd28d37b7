"""Text: the token of every row, and where it stands: in which context, which document, at which position.

    text.safetensors   for readers: mapped into memory, nothing is loaded
    text.parquet       the same row by row, for DuckDB and other engines

Rows that follow one another in one document and one context are a segment. T tokens (rows), S segments, R rows asked
for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.errors import ArtifactError
from lexiscope.core.tensors import read_tensors, write_tensors
from lexiscope.index.tables.parquet import write_parquet

TEXT, TEXT_TABLE = "text.safetensors", "text.parquet"
TEXT_COLUMNS = {"row": "BIGINT", "token": "INTEGER", "context": "INTEGER", "document": "INTEGER", "position": "INTEGER"}


class Text(NamedTuple):
    """Attributes:
    tokens_T: int32, token ids.
    starts_S: int64, first row of each segment; the first is 0.
    contexts_S: int32, ordinal of its context, never falling.
    documents_S: int32, ordinal of its document.
    positions_S: int32, index of its first token in the document.
    """

    tokens_T: NDArray[np.int32]
    starts_S: NDArray[np.int64]
    contexts_S: NDArray[np.int32]
    documents_S: NDArray[np.int32]
    positions_S: NDArray[np.int32]

    @classmethod
    def of_rows(
        cls,
        tokens_T: NDArray[np.int32],
        contexts_T: NDArray[np.int32],
        documents_T: NDArray[np.int32],
        positions_T: NDArray[np.int32],
    ) -> Self:
        breaks_T = (np.diff(contexts_T) != 0) | (np.diff(documents_T) != 0) | (np.diff(positions_T) != 1)
        starts_S = np.concatenate([[0], np.flatnonzero(breaks_T) + 1])
        at_S = (starts_S, contexts_T[starts_S], documents_T[starts_S], positions_T[starts_S])
        return cls(np.ascontiguousarray(tokens_T, np.int32), *at_S)

    @property
    def num_rows(self) -> int:
        return len(self.tokens_T)

    def segments(self, rows_R: NDArray[np.int64]) -> NDArray[np.int64]:
        """The segment of each row."""
        return np.searchsorted(self.starts_S, rows_R, side="right") - 1

    def documents(self, rows_R: NDArray[np.int64]) -> NDArray[np.int32]:
        return self.documents_S[self.segments(rows_R)]

    def positions(self, rows_R: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of each token in its document."""
        segments_R = self.segments(rows_R)
        return self.positions_S[segments_R] + (rows_R - self.starts_S[segments_R])

    def context_starts(self) -> NDArray[np.int64]:
        """First row of every context."""
        found: NDArray[np.int64] = self.starts_S[np.diff(self.contexts_S, prepend=self.contexts_S[0] - 1) != 0]
        return found


def write_text(folder: Path, text: Text) -> None:
    """Both files."""
    tensors = {name: torch.from_numpy(array) for name, array in text._asdict().items()}
    write_tensors(folder / TEXT, tensors)
    rows = np.arange(text.num_rows)
    lengths_S = np.diff(text.starts_S, append=text.num_rows)
    columns: dict[str, NDArray[Any]] = {
        "row": rows,
        "token": text.tokens_T,
        "context": np.repeat(text.contexts_S, lengths_S),
        "document": np.repeat(text.documents_S, lengths_S),
        "position": np.repeat(text.positions_S - text.starts_S, lengths_S) + rows,
    }
    write_parquet(folder / TEXT_TABLE, columns, TEXT_COLUMNS)


def read_text(path: Path) -> Text:
    """What `write_text` wrote, mapped into memory.

    Raises:
        ArtifactError: it is no text of an index.
    """
    tensors = read_tensors(path)
    dtypes = {"tokens_T": torch.int32, "starts_S": torch.int64}
    for name in Text._fields:
        if name not in tensors or tensors[name].dtype != dtypes.get(name, torch.int32) or tensors[name].ndim != 1:
            raise ArtifactError(f"{path} is damaged: no whole column {name!r} in it; build the index again")
    text = Text(*(tensors[name].numpy() for name in Text._fields))
    segments = {len(column) for column in text[1:]}
    ordered = bool((np.diff(text.starts_S) > 0).all() and (np.diff(text.contexts_S) >= 0).all())
    if len(segments) != 1 or not ordered or not text.num_rows or text.starts_S[:1].tolist() != [0]:
        raise ArtifactError(f"{path} is damaged: its segments are no text; build the index again")
    if int(text.starts_S[-1]) >= text.num_rows or min(int(text.tokens_T.min()), int(text.positions_S.min())) < 0:
        raise ArtifactError(f"{path} is damaged: its segments are no text; build the index again")
    return text
