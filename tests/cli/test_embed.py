"""lexiscope embed. Oracle: the label itself, which is closest to its own words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lexiscope.index.notes import By, Notes

from ..lm.test_encoder import write_encoder  # noqa: TID252 - tests are not installed

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights."""
    return write_encoder(tmp_path_factory.mktemp("encoders") / "bert")


@pytest.fixture
def index(run_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(run_folder / "index", tmp_path / "run" / "index")
    with Notes.open(tmp_path / "run" / "index") as notes:
        for feature, text in enumerate(("opening bracket", "closing quote", "name of a number")):
            notes.labels.add(feature, text, By(author="ana"))
    return tmp_path / "run"


def test_labels_are_found_by_what_they_mean(lexiscope: Run, index: Path, encoder: Path) -> None:
    code, out, err = lexiscope("embed", index, "--encoder", encoder, "--query", "closing quote")
    assert code == 0
    assert "3 texts encoded" in err
    assert out.splitlines()[0].split() == ["1.000", "feature", "1", "closing", "quote"]
    again = json.loads(lexiscope("embed", index, "--encoder", encoder, "--query", "a name", "--json")[1])
    assert (again["encoded"], again["found"]["searched"], len(again["found"]["hits"])) == (0, 3, 3)


def test_what_is_no_encoder(lexiscope: Run, index: Path, encoder: Path, model_folder: Path, tmp_path: Path) -> None:
    assert lexiscope("embed", index, "--encoder", tmp_path / "none")[0] == 2
    assert lexiscope("embed", index)[0] == 2
    assert lexiscope("embed", index, "--encoder", encoder)[0] == 0
    code, _, err = lexiscope("embed", index, "--encoder", model_folder)
    assert code == 2
    assert "of another encoder" in err
