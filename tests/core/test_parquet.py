"""Names of Parquet files. Oracle: DuckDB, with a file beside that the name would match as a pattern."""

from pathlib import Path

import duckdb
import pytest

from lexiscope.core.parquet import literal


@pytest.mark.parametrize(("name", "other"), [("a[b].parquet", "ab.parquet"), ("a*.parquet", "ab.parquet")])
def test_only_the_file_of_that_name_is_read(name, other, tmp_path):
    for file in (name, other):
        duckdb.sql(f"SELECT '{file}' AS file").write_parquet(str(tmp_path / file))
    path = literal(tmp_path / name)
    assert duckdb.execute("FROM read_parquet(?)", [path]).fetchall() == [(name,)]


def test_a_question_mark():
    assert literal(Path("why?/x.parquet")) == "why[?]/x.parquet"
