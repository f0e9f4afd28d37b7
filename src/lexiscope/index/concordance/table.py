"""The files of the firings: ``firings/LOW.parquet`` holds the features from LOW on, sorted by feature and then by row.

Parquet, because any engine reads it; version 2 of its encodings, because rows are then stored as differences and the
bytes of the activations apart, which with zstd is about 5 bytes per firing, exactly; several files, because then a
reader opens only the one that holds its feature.
"""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import ArtifactError
from lexiscope.core.parquet import connect, scan
from lexiscope.index.concordance.firings import Firings, Rows, Values

FIRINGS = "firings"
COLUMNS = {"feature": "INTEGER", "row": "BIGINT", "activation": "FLOAT"}
FIRINGS_PER_FILE = 1 << 24
"""A feature with more has a file of its own."""
_ENCODING = "FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, COMPRESSION_LEVEL 1"


def file_name(low: int) -> str:
    return f"{FIRINGS}/{low:010d}.parquet"


def write_firings(folder: Path, firings: Firings) -> None:
    """One file, beside which may be others. Its bytes depend on nothing but the firings."""
    path = folder / file_name(firings.low)
    path.parent.mkdir(exist_ok=True)
    columns = {
        "feature": firings.latents(),
        "row": firings.rows,
        "activation": firings.values,
    }
    columns_of_file = ", ".join(f'"{name}"::{kind} AS "{name}"' for name, kind in COLUMNS.items())
    target = str(path).replace("'", "''")
    with connect(threads=1) as connection:
        connection.register("firings", columns)
        connection.execute(f"COPY (SELECT {columns_of_file} FROM firings) TO '{target}' ({_ENCODING})")


class FiringTable:
    """Reads the firings of one feature.

    Args:
        num_rows: of the text.
    """

    def __init__(self, artifact: Artifact, num_rows: int) -> None:
        """Raises ArtifactError: there are no firings."""
        names = sorted(name for name in artifact.manifest["files"] if name.startswith(f"{FIRINGS}/"))
        if not names or names[0] != file_name(0):
            raise ArtifactError(f"{artifact.path} lists no file {file_name(0)}; build the index again")
        self._paths = [artifact.file(name) for name in names]
        self._lows = [int(path.stem) for path in self._paths]
        self._num_rows = num_rows

    def path(self, feature: int) -> Path:
        """The file with the firings of a feature."""
        return self._paths[bisect_right(self._lows, feature) - 1]

    def of(self, cursor: Any, feature: int) -> tuple[Rows, Values]:
        """Rows where a feature fires, ascending, and its activations there.

        Raises:
            ValueError: they are not in order, not of the text, or no numbers.
        """
        sql = f'SELECT "row", activation FROM {scan(self.path(feature))} WHERE feature = ?'
        columns = cursor.execute(sql, [feature]).fetchnumpy()
        rows, values = columns["row"], columns["activation"]
        if (
            np.ma.is_masked(rows)
            or np.ma.is_masked(values)
            or (len(rows) and not 0 <= rows[0] <= rows[-1] < self._num_rows)
        ):
            raise ValueError("firings that are not of this text")
        if bool((rows[1:] <= rows[:-1]).any()) or not bool(np.isfinite(values).all()):
            raise ValueError("firings out of order, or that are no numbers")
        return np.asarray(rows, np.int64), np.asarray(values, np.float32)
