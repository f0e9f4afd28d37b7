"""Record: every feature that fired while a model ran, whether it was used or not, for later analysis.

    fired/0000.parquet ...   context, position, token, feature, activation, spent

Contexts are numbered in the order in which they began; positions count the tokens that the model read, BOS too. Rows
are in the order of the passes, and of tokens and features within one. N firings of one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError
from lexiscope.core.parquet import connect, scan, trouble
from lexiscope.index.tables.parquet import write_parquet
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.spending.rules import Spending, written

TYPES = {
    "context": "INTEGER",
    "position": "INTEGER",
    "token": "INTEGER",
    "feature": "INTEGER",
    "activation": "FLOAT",
    "spent": "BOOLEAN",
}
"""Columns and their DuckDB types."""
_ROWS_PER_FILE = 1 << 22
_NUMPY = {"INTEGER": np.int32, "FLOAT": np.float32, "BOOLEAN": np.bool_}


class Record:
    """A record that is being written, in bounded memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[dict[str, NDArray[np.generic]]] = []
        self._rows = self._files = 0
        self.firings = self.spent = self.tokens = self.contexts = 0

    def add(self, tokens: int, columns: dict[str, NDArray[np.generic]]) -> None:
        """What fired on some tokens."""
        plain: dict[str, NDArray[np.generic]] = {
            name: np.asarray(columns[name], _NUMPY[kind]) for name, kind in TYPES.items()
        }
        self._waiting.append(plain)
        self._rows += len(plain["feature"])
        self.tokens += tokens
        self.firings += len(plain["feature"])
        self.spent += int(plain["spent"].sum())
        if self._rows >= _ROWS_PER_FILE:
            self.write()

    def write(self) -> None:
        """Put what is waiting on the disk; the first file is there even if nothing ever fired."""
        if not self._rows and self._files:
            return
        self._folder.mkdir(exist_ok=True)
        columns = {
            name: np.concatenate([np.empty(0, _NUMPY[kind]), *(part[name] for part in self._waiting)])
            for name, kind in TYPES.items()
        }
        for start in range(0, max(self._rows, 1), _ROWS_PER_FILE):
            part = {name: column[start : start + _ROWS_PER_FILE] for name, column in columns.items()}
            write_parquet(self._folder / f"{self._files:04d}.parquet", part, TYPES)
            self._files += 1
        self._waiting, self._rows = [], 0


def read_record(path: Path | str) -> dict[str, NDArray[np.generic]]:
    """All rows of a record, as columns. Of one larger than memory, ask the files with DuckDB.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    import duckdb

    artifact = open_artifact(path, "record")
    names = sorted(name for name in artifact.manifest["files"] if name.startswith("fired/"))
    parts = []
    with connect() as connection:
        for name in names:
            file = artifact.checked_file(name)
            try:
                (rows,) = connection.execute(f"SELECT count(*) FROM {scan(file)}").fetchone()  # noqa: S608  our own name
                if rows > _ROWS_PER_FILE:  # a small file may claim to hold a lot
                    raise ArtifactError(f"{file} claims {rows} rows, more than are ever written; record again")
                found = connection.execute(f"SELECT {', '.join(TYPES)} FROM {scan(file)}").fetchnumpy()  # noqa: S608
                parts.append({column: _plain(found[column], kind) for column, kind in TYPES.items()})
            except (duckdb.Error, RuntimeError, TypeError, ValueError) as error:
                raise trouble(file, error, "record again") from None
    if not parts:
        raise ArtifactError(f"{artifact.path} has no table of what fired; record again")
    return {column: np.concatenate([part[column] for part in parts]) for column in TYPES}


def _plain(column: NDArray[np.generic], kind: str) -> NDArray[np.generic]:
    if isinstance(column, np.ma.MaskedArray) and np.ma.is_masked(column):
        raise ValueError("a value is missing")
    plain = np.asarray(column)
    if plain.dtype != _NUMPY[kind]:
        raise TypeError(f"{plain.dtype} is no {kind}")
    return plain


@contextmanager
def recording(out: Path | str, model: LanguageModel, sae: SparseAutoencoder, spending: Spending) -> Iterator[Record]:
    """Write an artifact of kind "record"; it is there when the block ends without an error.

    Raises:
        InputError: ``out`` is taken or can't be written.
    """
    config = {"spending": written(spending), "num_latents": sae.num_latents}
    made_from = [] if sae.artifact is None else [sae.artifact]
    with write_artifact(
        out, "record", config=config, made_from=made_from, sources={"model": model.describe()}
    ) as draft:
        record = Record(draft.path / "fired")
        yield record
        record.write()
        for name in ("contexts", "tokens", "firings", "spent"):
            draft.notes[name] = getattr(record, name)
