"""Parquet through DuckDB, which needs no pyarrow and takes names of files for patterns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lexiscope.core.config import MOST_QUOTED
from lexiscope.core.errors import ArtifactError, InputError, is_out_of_memory, one_line


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
    """The pattern that matches this one path, whatever characters it has.

    Raises:
        InputError: it has a backslash, for which a pattern has no word, beside characters that make it a pattern.
    """
    pattern = re.sub(r"[*?[]", r"[\g<0>]", str(path))
    if "\\" in pattern and pattern != str(path):
        raise InputError(f"{path} has a backslash beside *, ? or [, which DuckDB can't read; take another name")
    return pattern


def trouble(path: Path, error: Exception, remedy: str) -> Exception:
    """What to raise when a table can't be read: the error itself if there was no memory, else what to do."""
    import duckdb

    if is_out_of_memory(error):
        return error
    if isinstance(error, duckdb.IOException):
        why = one_line(str(error).partition("\n")[0], MOST_QUOTED)
        return ArtifactError(f"{path} is damaged or can't be read ({why}); check the disk, or {remedy}")
    return ArtifactError(f"{path} is damaged; {remedy}")


def scan(*paths: Path) -> str:
    """The SQL that reads Parquet files one after another, whatever characters their paths have."""
    quoted = (literal(path).replace("'", "''") for path in paths)
    return "read_parquet([{}])".format(", ".join(f"'{path}'" for path in quoted))
