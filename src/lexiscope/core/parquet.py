"""Parquet through DuckDB, which needs no pyarrow and takes names of files for patterns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def connect(*, threads: int = 2, memory: str | None = "2GB") -> Any:
    """A DuckDB connection in memory that keeps insertion order and never reaches for the network.

    Args:
        memory: what it may take. None: most of what there is, for whole texts of any length.
    """
    import duckdb

    settings: dict[str, str | bool | list[str]] = {
        "threads": str(threads),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if memory is not None:
        settings["memory_limit"] = memory
    return duckdb.connect(":memory:", config=settings)


def literal(path: Path) -> str:
    """The pattern that matches this one path, whatever characters it has."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path))


def scan(path: Path) -> str:
    """The SQL that reads one Parquet file, whatever characters its path has."""
    quoted = literal(path).replace("'", "''")
    return f"read_parquet('{quoted}')"
