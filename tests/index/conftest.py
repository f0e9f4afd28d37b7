from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lexiscope.index.build import build_index
from lexiscope.index.feature_index import FeatureIndex


def _load_world() -> ModuleType:
    spec = importlib.util.spec_from_file_location("index_world", Path(__file__).with_name("world.py"))
    assert spec
    assert spec.loader
    module = sys.modules["index_world"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worlds = _load_world()


@pytest.fixture(scope="session")
def world():
    return worlds.World()


@pytest.fixture(scope="session")
def store(world, tmp_path_factory):
    return worlds.Store(world, tmp_path_factory.mktemp("stores") / "store")


@pytest.fixture(scope="session")
def built(world, store, tmp_path_factory) -> FeatureIndex:
    """The index of the world, in a folder whose name DuckDB would take for a pattern."""
    out = tmp_path_factory.mktemp("runs") / "[1]*? 'index'"
    return build_index(worlds.Dictionary(), worlds.Model(world), store, out=out)
