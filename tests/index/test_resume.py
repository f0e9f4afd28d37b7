"""An index that is broken off between two passes goes on with the same bytes. Oracle: the index without a break."""

from __future__ import annotations

import pytest
from index_world import Dictionary, Model

from lexiscope.index.build import build_index
from lexiscope.index.config import IndexConfig


class Killed(BaseException):
    """Nothing in the package may catch it."""


class Killer:
    """Breaks off at the beginning of a pass over the store; counts passes."""

    def __init__(self, at=None):
        self.passes, self.at = 0, at

    def task(self, title, *_):
        if title.startswith("Encoding"):
            if self.passes == self.at:
                raise Killed
            self.passes += 1
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount, note=""):
        pass


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_two_breaks_change_no_byte_and_no_pass_is_made_twice(world, store, tmp_path):
    config = IndexConfig(firings_at_once=2000)
    arguments = {"config": config, "seed": 3}
    whole = Killer()
    build_index(Dictionary(), Model(world), store, out=tmp_path / "whole", progress=whole, **arguments)
    assert whole.passes >= 4
    for at in (1, 2):
        with pytest.raises(Killed):
            build_index(Dictionary(), Model(world), store, out=tmp_path / "broken", progress=Killer(at), **arguments)
        assert not (tmp_path / "broken").exists()
    last = Killer()
    build_index(Dictionary(), Model(world), store, out=tmp_path / "broken", progress=last, **arguments)
    assert last.passes == whole.passes - 3
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]
