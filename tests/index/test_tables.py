"""Oracles: the specification, docs/formats.md, against the columns that DuckDB finds in the files; an index in one file
against the same in several.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import duckdb
import pytest
from index_world import NUM_LATENTS, Dictionary, Model

from lexiscope.core.manifest import MANIFEST, write_sealed
from lexiscope.index.build import build_index
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.tables import write

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
    [("features", "features/0000000000.parquet"), ("firings", "firings/0000000000.parquet"), ("text", "text.parquet")],
)
def test_every_column_is_specified(built, tmp_path, table, file):
    file = shutil.copy(built.artifact.path / file, tmp_path)
    assert set(duckdb.read_parquet(str(file)).columns) == specified(table)


@pytest.mark.parametrize("per_file", [7, NUM_LATENTS - 1, NUM_LATENTS])
def test_in_several_files_features_are_what_they_are_in_one(world, store, built, tmp_path, monkeypatch, per_file):
    monkeypatch.setattr(write, "FEATURES_PER_FILE", per_file)
    several = build_index(Dictionary(), Model(world), store, out=tmp_path / "index")
    assert len(list((tmp_path / "index" / "features").iterdir())) == -(-NUM_LATENTS // per_file)
    assert all_of(several) == all_of(built)


def test_older_indexes_have_all_features_in_one_file(built, tmp_path):
    older = tmp_path / "index"
    shutil.copytree(built.artifact.path, older)
    (older / "features" / "0000000000.parquet").rename(older / "features.parquet")
    manifest = json.loads((older / MANIFEST).read_text(encoding="utf-8"))
    del manifest["manifest_sha256"]
    data = (older / "features.parquet").read_bytes()
    del manifest["files"]["features/0000000000.parquet"]
    manifest["files"]["features.parquet"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_sealed(older / MANIFEST, manifest)
    assert all_of(FeatureIndex.open(older)) == all_of(built)


def all_of(index: FeatureIndex) -> list[object]:
    return [index.features("feature", limit=1000), *(index.feature(number) for number in range(NUM_LATENTS))]
