"""lexiscope plant as a user calls it. Oracle: the exit code, one sentence, and what is on disk afterwards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import with_set, write_model
from .test_verbs import Run, refused

FEW = with_set(["task_steps=1", "steps=1", "pages=2", "rows=2", "prompts=3", "heldout_tokens=500", "context=64"])


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts are up to a hundred bytes long, and so many tokens."""
    folder = write_model(tmp_path_factory.mktemp("models") / "long", seed=0)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 256}))
    return folder


def test_a_pair_is_made_once(lexiscope: Run, long_model: Path, corpus_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pair"
    given = ["plant", "bias", "--model", long_model, "--out", out, "--set", f"corpus={corpus_folder}", *FEW]
    code, printed, err = lexiscope(*given)
    assert code == 0, err
    assert re.search(r"planted on reserved +FAIL +\d+\.\d\d%, at least 95\.00%", printed)  # a step plants nothing
    assert "checks fail" in printed
    assert "which setting helps" in err
    assert re.search(r"pair is done after \d+ s, with \d+\.\d GB", err)
    before = (out / "manifest.json").read_bytes()
    code, printed, err = lexiscope(*given, "--json")
    assert code == 0, err
    assert "is done already" in err
    assert (out / "manifest.json").read_bytes() == before
    said = json.loads(printed)
    assert said["checks"]["planted on shown"] == {"found": 0, "side": "at least", "bar": 0.95, "passed": False}
    assert said.pop("out") == str(out)
    assert said == json.loads((out / "figures.json").read_text())
    assert said["behaviour"]["shown"]["planted"]["prompts"] == 3
    refused(lexiscope(*given, "--seed", 1), "seed", "other settings")
    code, _, err = lexiscope("verify", out)
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["envy"], ["envy", "bias, sentiment, sycophancy"]),
        (["bias", "--model", "{there}/nothing"], ["nothing"]),
        (["bias", "--set", "corpus={there}/nothing"], ["nothing"]),
        (["bias", "--set", "stepps=3"], ["stepps"]),
        (["bias", "--set", "steps=0"], ["steps"]),
        (["bias", "{there}/recipe.toml"], ["recipe.toml"]),
        (["bias", "--model", "{model}", "--set", "context=4000"], ["4000", "256"]),
        (["sentiment", "--model", "{model}", "--set", "corpus={texts}", *FEW, "--set", "prompts=100000"], ["fewer"]),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    lexiscope: Run, long_model: Path, corpus_folder: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    places = {"there": tmp_path, "model": long_model, "texts": corpus_folder}
    given = [argument.format(**places) for argument in arguments]
    refused(lexiscope("plant", *given, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_recipes_are_valid() -> None:
    from lexiscope.core.config import read_recipe
    from lexiscope.measure.worlds.planted.make import Config
    from lexiscope.measure.worlds.planted.plant import names

    recipes = sorted((Path(__file__).parents[2] / "recipes" / "planted").glob("*.toml"))
    assert [recipe.stem for recipe in recipes] == names()
    for recipe in recipes:
        Config.read({"plant": recipe.stem, **read_recipe(recipe)["plant"]}, recipe.name)
