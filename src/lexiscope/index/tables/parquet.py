"""Parquet files of an index: columns in, files out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.parquet import connect

ROWS_PER_GROUP = 8192
"""Rows in a row group. A reader that looks for one feature reads one group, and first a footer that names them all."""


_SURROGATES = re.compile("[\ud800-\udfff]")


def column_of_text(texts: Sequence[str]) -> NDArray[np.object_]:
    """A text column. Lone surrogates, which UTF-8 can't hold, become U+FFFD."""
    column = np.empty(len(texts), dtype=object)
    column[:] = [_SURROGATES.sub("\ufffd", text) for text in texts]
    return column


def write_parquet(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    types: Mapping[str, str],
    terms: Mapping[str, str] | None = None,
    rows_per_group: int = ROWS_PER_GROUP,
) -> None:
    """Write columns of equal length as one Parquet file, rows in the order given.

    Args:
        types: DuckDB type of each column; the file has exactly these columns in this order.
        terms: the SQL that makes each of them, where they are not what is given.
    """
    target = str(path).replace("'", "''")
    options = f"FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, ROW_GROUP_SIZE {rows_per_group}"
    chosen = ", ".join((terms or {}).get(name, name) for name in types)
    with connect(threads=1) as connection:  # a second thread makes it no faster
        connection.execute(f"CREATE TABLE rows ({', '.join(f'{name} {kind}' for name, kind in types.items())})")
        batch = dict(columns)
        connection.register("batch", batch)
        connection.execute(f"INSERT INTO rows SELECT {chosen} FROM batch")  # noqa: S608 - names are our own
        connection.execute(f"COPY rows TO '{target}' ({options})")
