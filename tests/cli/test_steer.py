"""`lexiscope steer` as a user calls it. Oracle: the same in Python, the exit code, one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lexiscope import saes
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, Clamp
from lexiscope.steer.live import stream

from .test_verbs import refused

Run = Callable[..., "tuple[int, str, str]"]
PROMPT = "Mary went to"


@pytest.fixture(scope="module")
def live_features(run_folder: Path) -> list[int]:
    return FeatureIndex.open(run_folder / "index").live()


@pytest.mark.parametrize("heat", [0.0, 1.0])
def test_default_and_steered(
    lexiscope: Run, run_folder: Path, model_folder: Path, live_features: list[int], heat: float
) -> None:
    first, second, third = live_features[:3]
    edits = ["--clamp", f"{first}=30max", "--ablate", f"{second},{third}", "--add", f"{second}=2", "--on", "generated"]
    given = [run_folder, "--prompt", PROMPT, *edits, "--tokens", 12, "--sample", heat, "--seed", 4]
    code, out, err = lexiscope("steer", *given, "--json")
    assert code == 0, err
    said = json.loads(out)
    model, sae = LanguageModel(model_folder), saes.load(run_folder / "sae")
    way = {"max_new_tokens": 12, "temperature": heat, "seed": 4}
    python = [
        Clamp(features=first, to="30max", tokens="generated"),
        Add(features=second, by=2, tokens="generated"),
        Ablate(features=[second, third], tokens="generated"),
    ]
    with editing(model, sae, python, units=FeatureIndex.open(run_folder / "index")):
        steered = model.generate(PROMPT, **way)
    assert said["texts"] == [{"prompt": PROMPT, "default": model.generate(PROMPT, **way), "steered": steered}]
    assert [edit["do"] for edit in said["edit"]] == ["clamp", "add", "ablate"]
    code, out, err = lexiscope("steer", *given)
    assert code == 0, err
    assert "default" in out
    assert "steered" in out


def test_a_recipe_and_flags_say_the_same(
    lexiscope: Run, run_folder: Path, tmp_path: Path, live_features: list[int]
) -> None:
    feature = live_features[0]
    recipe = tmp_path / "edits.toml"
    recipe.write_text(f'[[edit]]\ndo = "clamp"\nfeatures = [{feature}]\nto = "20max"\npositions = "2:"\n')
    by_recipe = lexiscope("steer", run_folder / "sae", "--prompt", PROMPT, "--recipe", recipe, "--tokens", 5, "--json")
    flags = ["--clamp", f"{feature}=20max", "--positions", "2:", "--tokens", 5]
    by_flags = lexiscope("steer", run_folder / "sae", "--prompt", PROMPT, *flags, "--json")
    assert by_recipe[0] == by_flags[0] == 0, (by_recipe, by_flags)
    assert json.loads(by_recipe[1]) == json.loads(by_flags[1])


def test_tokens_as_they_come(lexiscope: Run, run_folder: Path, model_folder: Path) -> None:
    code, out, err = lexiscope("steer", run_folder, "--prompt", PROMPT, "--live", "--tokens", 4, "--json")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    model, sae = LanguageModel(model_folder), saes.load(run_folder / "sae")
    expected = list(stream(model, sae, PROMPT, max_new_tokens=4, with_prompt=True))
    assert [line["token"] for line in lines] == [token.token for token in expected]
    assert [line["l0"] for line in lines] == [token.l0 for token in expected]
    code, out, err = lexiscope("steer", run_folder, "--prompt", PROMPT, "--live", "--tokens", 4)
    assert code == 0, err
    assert len(out.splitlines()) == len(expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["nothing is to be changed", "--clamp"]),
        (["--clamp", "5"], ["--clamp '5'", "123=2max"]),
        (["--clamp", "x=2"], ["--clamp 'x=2'"]),
        (["--clamp", "5=nan"], ["--clamp '5=nan'", "no strength"]),
        (["--scale", "5=fast"], ["--scale '5=fast'", "by"]),
        (["--ablate", "5=median"], ["--ablate '5=median'", "to"]),
        (["--ablate", "99999"], ["there is no feature 99999", "features 0 to 31"]),
        (["--clamp", "5=1", "--ablate", "5", "--allow-dead"], ["both say what feature 5 becomes"]),
        (["--clamp", "5=1", "--positions", "last"], ["--positions 'last'"]),
        (["--patch", "all=", "--allow-dead"], ["nothing to read"]),
        (["--recipe", "{there}/none.toml"], ["no recipe", "none.toml"]),
        (["--clamp", "5=1", "--tokens", "1000", "--allow-dead"], ["positions for", "64"]),
        (["--clamp", "5=1", "--seed", f"{10**20}", "--tokens", "4", "--allow-dead"], ["the seed 1000", "18 digits"]),
        (["--clamp", "5=1", "--sample", "1e-320", "--tokens", "4", "--allow-dead"], ["temperature of 1e-320"]),
        (
            ["--clamp", "5=3e38", "--add", "5=3e38", "--sample", "1", "--tokens", "4", "--allow-dead"],
            ["no numbers any more"],
        ),
        (["--clamp", "5=3e38", "--add", "5=3e38", "--live", "--tokens", "4", "--allow-dead"], ["no numbers any more"]),
        (["--clamp", "5=1", "--live", "--save", "{there}/edit"], ["--live shows a change and --save keeps it"]),
        (["--clamp", "5=1", "--model", "{there}"], []),
        (["--clamp", "5=1", "--index", "{there}/nothing"], ["nothing"]),
    ],
)
def test_refused(lexiscope: Run, run_folder: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    given = [argument.format(there=tmp_path) for argument in arguments]
    refused(lexiscope("steer", run_folder, "--prompt", PROMPT, *given), *words)


def test_not_a_run(lexiscope: Run, tmp_path: Path) -> None:
    refused(lexiscope("steer", tmp_path, "--prompt", PROMPT, "--ablate", "1"), str(tmp_path))
    refused(lexiscope("steer", tmp_path / "none", "--prompt", PROMPT, "--ablate", "1"), "none")


def test_without_an_index(lexiscope: Run, run_folder: Path, tmp_path: Path) -> None:
    """Numbers do; multiples of the maximum do not."""
    (tmp_path / "alone").symlink_to(run_folder / "sae")
    code, _, err = lexiscope("steer", tmp_path / "alone", "--prompt", PROMPT, "--ablate", "1", "--tokens", 2)
    assert code == 0, err
    refused(lexiscope("steer", tmp_path / "alone", "--prompt", PROMPT, "--clamp", "1=2max"), "an index")


def test_a_change_is_kept_and_applied(
    lexiscope: Run, run_folder: Path, tmp_path: Path, live_features: list[int]
) -> None:
    """Oracle: the same change given by flags."""
    flags = ["--clamp", f"{live_features[0]}=30max", "--ablate", live_features[1]]
    way = ["--prompt", PROMPT, "--tokens", 8, "--json"]
    code, out, err = lexiscope("steer", run_folder, *flags, *way)
    assert code == 0, err
    code, _, err = lexiscope("steer", run_folder, *flags, "--save", tmp_path / "edit", "--purpose", "a test")
    assert code == 0, err
    assert "applies it" in err
    code, applied, err = lexiscope("steer", tmp_path / "edit", *way)
    assert code == 0, err
    assert json.loads(applied)["texts"] == json.loads(out)["texts"]
    assert json.loads((tmp_path / "edit" / "report.json").read_text())["purpose"] == "a test"


def test_spending_and_its_record(lexiscope: Run, run_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    from lexiscope.steer.spending.frugal import frugal
    from lexiscope.steer.spending.rules import parse

    way = [run_folder, "--prompt", PROMPT, "--tokens", 6, "--spend", "k=1", "--json"]
    code, out, err = lexiscope("steer", *way, "--record", tmp_path / "record")
    assert code == 0, err
    model, sae = LanguageModel(model_folder), saes.load(run_folder / "sae")
    with frugal(model, sae, parse("k=1")):
        expected = model.generate(PROMPT, max_new_tokens=6)
    assert json.loads(out)["texts"][0]["steered"] == expected
    manifest = json.loads((tmp_path / "record" / "manifest.json").read_text())
    assert 0 < manifest["spent"] <= manifest["tokens"] < manifest["firings"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--spend", "few", "--prompt", "x"], "says no number of features"),
        (["--spend", "k=1", "--ablate", "1", "--prompt", "x"], "leave out what changes them"),
        (["--record", "there", "--prompt", "x", "--ablate", "1"], "--record goes with --spend"),
        (["--ablate", "1"], "there is nothing to go on from"),
        (["--ablate", "1", "--live"], "there is nothing to go on from"),
    ],
)
def test_what_does_not_go_together(lexiscope: Run, run_folder: Path, flags: list[str], sentence: str) -> None:
    refused(lexiscope("steer", run_folder, *flags), sentence)
