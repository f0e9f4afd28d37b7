"""An index that is broken off goes on with the same bytes, wherever it was. Oracle: the index without a break."""

from __future__ import annotations

import pytest
from index_world import Dictionary, Model

from lexiscope.core.checkpoint import Keeping
from lexiscope.index import build as build_module
from lexiscope.index.build import build_index
from lexiscope.index.concordance import collect
from lexiscope.index.config import IndexConfig


class Killed(BaseException):
    """Nothing in the package may catch it."""


class Killer:
    """Breaks off after so many steps of a task; notes how many rows were encoded."""

    def __init__(self, task="", at=None):
        self.task_wanted, self.at = task, at
        self.title, self.steps, self.encoded = "", 0, 0

    def task(self, title, *_):
        self.title, self.steps = title, 0
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount, note=""):
        if self.title == "Encoding" and self.steps:
            self.encoded += amount
        self.steps += 1
        if self.title == self.task_wanted and self.steps == self.at:
            raise Killed


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.fixture
def build(world, store, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "CHUNK_TOKENS", 100)

    def make(name, progress, **settings):
        return build_index(Dictionary(), Model(world), store, out=tmp_path / name, progress=progress, **settings)

    return make


def test_breaks_change_no_byte_and_no_run_is_made_twice(world, build, tmp_path):
    config = IndexConfig(firings_at_once=2000)
    whole = Killer()
    build("whole", whole)
    for killer in (Killer("Encoding", 3), Killer("Encoding", 25), Killer("Writing firings", 1)):
        with pytest.raises(Killed):
            build("broken", killer, config=config)
        assert not (tmp_path / "broken").exists()
    last = Killer()
    build("broken", last, config=config)
    assert whole.encoded == len(world.tokens_T)
    assert last.encoded == 0
    broken, undisturbed = contents(tmp_path / "broken"), contents(tmp_path / "whole")
    assert broken == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]


@pytest.mark.parametrize("step", ["write_features", "write_text", "write_documents"])
def test_a_break_after_the_firings_changes_no_byte(build, tmp_path, monkeypatch, step):
    """What was written before it lies in the draft still."""
    config, wanted = IndexConfig(firings_at_once=2000), getattr(build_module, step)

    def written_and_killed(*given):
        wanted(*given)
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(build_module, step, written_and_killed)
        with pytest.raises(Killed):
            build("broken", Killer(), config=config)
    build("broken", Killer(), config=config)
    build("whole", Killer())
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


@pytest.mark.parametrize("keeping", [Keeping(every_steps=100), Keeping(every_steps=300, keep=1)])
def test_checkpoints_do_not_show_in_the_bytes(build, tmp_path, keeping):
    build("whole", Killer())
    build("kept", Killer(), keeping=keeping)
    assert contents(tmp_path / "kept") == contents(tmp_path / "whole")


def test_a_sample_of_the_codes_does_not_depend_on_the_runs(build, tmp_path):
    build("whole", Killer(), config=IndexConfig(sampled_codes=300))
    build("runs", Killer(), config=IndexConfig(sampled_codes=300, firings_at_once=500))
    assert contents(tmp_path / "runs") == contents(tmp_path / "whole")
    full = build("full", Killer())
    assert contents(tmp_path / "full") != contents(tmp_path / "whole")
    assert full.feature(3).sampled_firings == full.feature(3).firings
