"""Oracle: the specification, docs/formats.md, against the columns that DuckDB finds in the files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import duckdb
import pytest

FORMATS = Path(__file__).parents[2] / "docs" / "formats.md"


def specified(table: str) -> set[str]:
    """The names that the section on the index gives for a table; ``a_{b,c}`` stands for two."""
    section = FORMATS.read_text(encoding="utf-8").partition("\n## index\n")[2].partition("\n## ")[0]
    [entry] = re.findall(rf"^- `{table}`: (.*?)(?=^- |\Z)", section, re.MULTILINE | re.DOTALL)
    names = set()
    for name in re.findall(r"`([^`]+)`", entry):
        stem, brace, endings = name.partition("{")
        names |= {stem + ending for ending in endings.rstrip("}").split(",")} if brace else {name}
    return names


@pytest.mark.parametrize(
    ("table", "file"),
    [("features", "features.parquet"), ("firings", "firings/0000000000.parquet"), ("text", "text.parquet")],
)
def test_every_column_is_specified(built, tmp_path, table, file):
    file = shutil.copy(built.artifact.path / file, tmp_path)
    assert set(duckdb.read_parquet(str(file)).columns) == specified(table)
