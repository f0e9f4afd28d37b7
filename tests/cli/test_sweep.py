"""Members of a sweep worked out by hand; the verb as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lexiscope.cli.sweep import Row, expand, read_grid, rows
from lexiscope.core.errors import InputError

BASE = {"sae": {"architecture": "topk", "expansion": 2, "k": 16}, "optimise": {"tokens": 1000}}


def test_a_grid_is_every_combination_and_members_come_after() -> None:
    named = expand(BASE, {"sae.k": [8, 16], "optimise.lr": [0.1]}, [{"sae": {"k": 4}}])
    assert list(named) == ["k=8,lr=0.1", "k=16,lr=0.1", "k=4"]
    assert named["k=8,lr=0.1"] == {
        "sae": {"architecture": "topk", "expansion": 2, "k": 8},
        "optimise": {"tokens": 1000, "lr": 0.1},
    }
    assert BASE["sae"]["k"] == 16


def test_another_architecture_keeps_only_the_size() -> None:
    named = expand(BASE, {}, [{"sae": {"architecture": "relu_l1", "l1_coefficient": 2.0}}])
    assert named["architecture=relu_l1,l1_coefficient=2.0"]["sae"] == {
        "architecture": "relu_l1",
        "expansion": 2,
        "l1_coefficient": 2.0,
    }


@pytest.mark.parametrize(
    ("grid", "members", "message"),
    [
        ({"sae.k": 3}, [], "sae.k needs a list"),
        ({"k": [3]}, [], "varies sae.KEY or optimise.KEY, not 'k'"),
        ({"sae.k": [3, 3]}, [], "two members k=3"),
        ({}, ["k=3"], "each is a table"),
        ({}, [{"k": 3}], "varies sae.KEY"),
    ],
)
def test_bad_sweeps_are_refused(grid, members, message) -> None:
    with pytest.raises(InputError, match=message):
        expand(BASE, grid, members)


def test_more_members_than_anyone_trains_are_refused_before_they_are_made() -> None:
    with pytest.raises(InputError, match="27,000,000,000 combinations"):
        expand(BASE, {f"sae.{key}": list(range(3000)) for key in ("k", "num_latents", "seed")}, [])


def test_a_name_fits_into_a_file_system() -> None:
    names = list(expand(BASE, {"sae.k": ["x" * 5000, "x" * 5001]}, []))
    assert len(set(names)) == 2
    assert all(len(name) < 140 for name in names)


def test_a_grid_from_the_command_line() -> None:
    assert read_grid(["sae.k=8, 16", "sae.architecture=topk"]) == {"sae.k": [8, 16], "sae.architecture": ["topk"]}
    for bad in ("sae.k", "sae.k=", "=3"):
        with pytest.raises(InputError, match="is not KEY=VALUE"):
            read_grid([bad])


def test_a_name_can_not_leave_its_folder() -> None:
    (name,) = expand(BASE, {"sae.init": ["../../x y"]}, [])
    assert "/" not in name
    assert not name.startswith(".")


def test_the_verb(lexiscope, run_folder: Path, tmp_path: Path) -> None:
    """Two members, one table; again: nothing to do; one more: only that one is trained."""
    asked = [
        *("train", "--store", run_folder / "store", "--out", tmp_path / "sweep"),
        *("--set", "optimise.tokens=8000", "--set", "optimise.batch_tokens=1000", "--set", "sae.expansion=1"),
        *("--set", "optimise.heldout_tokens=1000"),
    ]
    code, printed, err = lexiscope(*asked, "--grid", "sae.k=4,8", "--json")
    assert code == 0, err
    found = [Row(**row) for row in json.loads(printed)]
    assert [row.name for row in found] == ["k=4", "k=8"]
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == [row._asdict() for row in found]
    assert (tmp_path / "sweep" / "pareto.svg").read_text().count("<circle") >= 2
    before = (tmp_path / "sweep" / "k=4" / "manifest.json").read_bytes()
    code, printed, err = lexiscope(*asked, "--grid", "sae.k=4,8,12")
    assert code == 0, err
    assert "3 autoencoders, 2 done already" in err
    assert (tmp_path / "sweep" / "k=4" / "manifest.json").read_bytes() == before
    assert "k=12" in printed
    code, _, err = lexiscope(*asked, "--grid", "sae.k=4,4")
    assert (code, err.count("two members")) == (2, 1)


def test_pareto_is_nobody_better_in_both(monkeypatch) -> None:
    class Fake:
        def __init__(self, l0, fvu):
            self.config = type("C", (), {"architecture": "topk"})
            self.num_latents = 8
            file = type("F", (), {"read_text": lambda *_, **__: '{"dead_fraction": 0}'})()
            manifest = {"heldout": {"l0": l0, "fvu": fvu}}
            self.artifact = type("A", (), {"manifest": manifest, "file": lambda *_: file})()

    found = rows({"a": Fake(8, 0.5), "b": Fake(16, 0.4), "c": Fake(16, 0.6), "d": Fake(32, 0.3), "e": Fake(32, 0.3)})
    assert [row.name for row in found if row.pareto] == ["a", "b", "d", "e"]
