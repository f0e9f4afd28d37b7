"""`lexiscope effects` as a user calls it. Oracle: the same in Python, what is kept, the exit code, one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lexiscope import saes
from lexiscope.index.feature import FeatureSummary
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.notes import Notes
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import behaviour
from lexiscope.steer.edit import Edit
from lexiscope.steer.experiments.aims import token_set
from lexiscope.steer.experiments.excerpts import Source
from lexiscope.steer.experiments.experiment import Experiment
from lexiscope.steer.experiments.findings import of
from lexiscope.steer.recipe import Recipe
from lexiscope.steer.suppressing.cases import read_cases

from .conftest import with_set, write_model
from .test_verbs import refused

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture(scope="module")
def own(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since notes are written."""
    folder = tmp_path_factory.mktemp("effects") / "tiny"
    shutil.copytree(run_folder, folder)
    return folder


@pytest.fixture(scope="module")
def experiment(own: Path, model_folder: Path) -> Experiment:
    sae = saes.load(own / "sae")
    source = Source.of(sae.artifact)
    return Experiment(LanguageModel(model_folder), sae, source, index=FeatureIndex.open(own / "index"))


@pytest.fixture(scope="module")
def live_feature(own: Path) -> int:
    return FeatureIndex.open(own / "index").live()[0]


def test_select_says_what_python_says(lexiscope: Run, own: Path, experiment: Experiment) -> None:
    code, out, err = lexiscope("effects", "select", own, "--tokens", "e, ", "--shortlist", 3, "--random", 2, "--json")
    assert code == 0, err
    said = json.loads(out)
    aim = experiment.towards_tokens(token_set(experiment.model.tokenizer, ["e", " "]))
    expected = experiment.select(aim, shortlist=3, random=2)
    assert said["chosen"] == expected.chosen
    named = [candidate.pop("name") for candidate in said["candidates"]]
    assert all(named)
    assert said["candidates"] == expected.model_dump(mode="json")["candidates"]
    code, out, err = lexiscope("effects", "select", own, "--tokens", "e, ", "--shortlist", 3, "--random", 2)
    assert code == 0, err
    assert f"Feature {expected.chosen} is the one to steer with." in out
    assert "sign of the effect predicted by" in out


def test_the_store_says_how_much_is_held_out(experiment: Experiment, own: Path) -> None:
    manifest = json.loads((own / "store" / "manifest.json").read_text())
    assert experiment.source.heldout_share == manifest["heldout_share"]


def test_a_dose_is_printed_kept_and_written_as_a_recipe(
    lexiscope: Run, own: Path, experiment: Experiment, live_feature: int, tmp_path: Path
) -> None:
    way = [own, live_feature, "--tokens", "e", "--strengths", "-0.5,0.5", "--limit", 5]
    code, out, err = lexiscope("effects", "dose", *way, "--json", "--no-keep")
    assert code == 0, err
    said = json.loads(out)
    aim = experiment.towards_tokens(token_set(experiment.model.tokenizer, ["e"]))
    expected = experiment.dose_response(aim, live_feature, [-0.5, 0.5], limit=5)
    settings = said.pop("asked")
    assert said == expected.model_dump(mode="json")
    assert settings["strengths"] == [-0.5, 0.5]
    assert not of(Notes.open(own / "index", readonly=True), live_feature).dose_responses
    code, out, err = lexiscope("effects", "dose", *way)
    assert code == 0, err
    assert expected.verdict in out
    assert all(f"{dose.strength:.3g}" in out for dose in expected.curve)
    kept = of(Notes.open(own / "index", readonly=True), live_feature).dose_responses
    assert [each.dose_response for each in kept] == [expected]
    assert kept[0].asked == settings


def test_the_selected_feature_s_dose_steers(lexiscope: Run, own: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "dose.toml"
    way = [own, "--concept", "quoted speech", "--strengths", 0.5, "--limit", 50, "--prompts", 6, "--no-keep"]
    code, out, err = lexiscope("effects", "dose", *way, "--recipe", recipe, "--json")
    assert code == 0, err
    said = json.loads(out)
    (edit,) = Recipe.read(recipe).edits
    assert edit.features == (said["feature"],)
    assert edit.by.times == pytest.approx(said["recommended"] * said["unit"], rel=1e-5)
    assert said["untouched"]["fluency"]["met"] is not None
    assert "tokens stand for 'quoted speech'" in err
    code, _, err = lexiscope("steer", own, "--recipe", recipe, "--prompt", "a", "--tokens", 2)
    assert code == 0, err


def test_examples(lexiscope: Run, own: Path, tmp_path: Path, live_feature: int) -> None:
    for name, letter in (("wanted", "e"), ("unwanted", "x")):
        (tmp_path / name).write_text("\n".join(f"{word} {letter * 3}" for word in "one two three four five".split()))
    sides = ["--wanted", tmp_path / "wanted", "--unwanted", tmp_path / "unwanted"]
    code, out, err = lexiscope("effects", "dose", own, live_feature, *sides, "--strengths", 0.5, "--no-keep")
    assert code == 0, err
    assert "nats per token" in out
    refused(lexiscope("effects", "select", own, *sides[:2]), "give --wanted and --unwanted")
    (tmp_path / "unwanted").write_text("one\n\n")
    refused(lexiscope("effects", "select", own, *sides), "1 different unwanted texts")
    (tmp_path / "unwanted").write_text("\n")
    refused(lexiscope("effects", "select", own, *sides), "is empty")
    refused(lexiscope("effects", "select", own, *sides[:3], tmp_path / "none"), "can't be read")


def test_confirm(lexiscope: Run, own: Path, tmp_path: Path, live_feature: int) -> None:
    """With a random model the wording decides which answer is preferred; both ways are tried."""
    pairs = tmp_path / "pairs.jsonl"
    for first, other in (("e", "x"), ("x", "e")):
        rows = [
            {"prompt": f"{n} ae", "answer": first, "other_prompt": f"{n} ax", "other_answer": other} for n in range(8)
        ]
        pairs.write_text("\n".join(map(json.dumps, rows)))
        way = ["effects", "confirm", own, live_feature, pairs, "--hypothesis", "e"]
        code, out, err = lexiscope(*way, "--json", "--no-keep")
        if code == 0:
            break
    assert code == 0, err
    verdict = json.loads(out)["verdict"]
    assert not of(Notes.open(own / "index", readonly=True), live_feature).confirmations
    code, out, err = lexiscope(*way)
    assert code == 0, err
    assert f"Feature {live_feature} (e): {verdict}." in out
    kept = of(Notes.open(own / "index", readonly=True), live_feature).confirmations
    assert [each.confirmation.verdict for each in kept] == [verdict]
    assert len(kept[0].pairs) == 8
    refused(lexiscope(*way, "--chosen-on", pairs), "confirm it on other pairs")
    pairs.write_text("{}")
    refused(lexiscope(*way), "line 1 is no pair")


def test_fidelity(lexiscope: Run, own: Path) -> None:
    way = ["effects", "fidelity", own, "--tokens", 300]
    code, out, err = lexiscope(*way, "--spend", "k=1", "--spend", "prefix=8", "--json")
    assert code == 0, err
    assert [point["spending"] for point in json.loads(out)["points"]] == ["k=1", "prefix=8"]
    code, out, err = lexiscope(*way)
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("all", "k="))] == ["all", "k=2", "k=1"]
    refused(lexiscope(*way, "--spend", "few"), "says no number of features")


def test_usual_spendings_of_a_nested_dictionary() -> None:
    import torch

    from lexiscope.cli.effects.fidelity import usual
    from lexiscope.saes import matryoshka
    from lexiscope.steer.spending.rules import written

    sae = saes.create(matryoshka.Config(num_latents=64, activation={"name": "topk", "k": 4}), torch.randn(64, 8))
    assert [written(each) for each in usual(sae)] == [
        "all",
        "k=2",
        "k=1",
        "prefix=32",
        "prefix=16",
        "prefix=8",
        "prefix=4",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["select"], ["there is no goal", "--tokens"]),
        (["select", "--tokens", "e", "--concept", "number"], ["there are 2 goals"]),
        (["select", "--concept", "numbr"], ["no concept of the bank is called 'numbr'", "number"]),
        (["select", "--tokens", "é,"], ["'é' is not one token"]),
        (["select", "--tokens", "e", "--limit", "nan"], ["--limit nan"]),
        (["select", "--tokens", "e", "--corpus", "{there}/none"], ["none"]),
        (["select", "--tokens", "e", "--index", "{there}"], ["{there}"]),
        (["dose", "99999", "--tokens", "e"], ["there is no feature 99999", "features 0 to 31"]),
        (["dose", "1", "--tokens", "e", "--strengths", "strong"], ["--strengths 'strong'"]),
        (["dose", "1", "--tokens", "e", "--strengths", "nan"], ["strength nan is no number"]),
        (["dose", "1", "--tokens", "e", "--strengths", "-1"], ["above 0"]),
        (["dose", "1", "--tokens", "e", "--recipe", "{there}"], ["is there already", "--recipe"]),
        (["confirm", "1", "{there}/none.jsonl"], ["none.jsonl", "can't be read"]),
        (["fidelity", "--store", "{there}"], ["{there}"]),
    ],
)
def test_refused(lexiscope: Run, own: Path, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    verb, *rest = [argument.format(there=tmp_path) for argument in arguments]
    refused(lexiscope("effects", verb, own, *rest), *(word.format(there=tmp_path) for word in words))


def test_a_dead_feature_is_refused(
    lexiscope: Run, own: Path, live_feature: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    summaries = FeatureIndex.summaries

    def dead(index: FeatureIndex, features: list[int]) -> dict[int, FeatureSummary]:
        return {
            feature: row.model_copy(update={"dead": True, "max_activation": 0.0})
            for feature, row in summaries(index, features).items()
        }

    monkeypatch.setattr(FeatureIndex, "summaries", dead)
    refused(lexiscope("effects", "dose", own, live_feature, "--tokens", "e"), f"feature {live_feature} never fires")
    refused(lexiscope("effects", "confirm", own, live_feature, own / "sae" / "manifest.json"), "is no pair")


def test_not_a_run_and_an_index_of_another(lexiscope: Run, own: Path, tmp_path: Path) -> None:
    refused(lexiscope("effects", "select", tmp_path / "none", "--tokens", "e"), "none")
    training = ["sae.k=4", "sae.expansion=2", "optimise.tokens=2000", "optimise.batch_tokens=500", "optimise.seed=5"]
    code, _, err = lexiscope("train", "--store", own / "store", "--out", tmp_path / "sae", *with_set(training))
    assert code == 0, err
    way = ["effects", "select", tmp_path / "sae", "--tokens", "e"]
    refused(lexiscope(*way, "--index", own / "index"), "index of another dictionary")


def test_another_model(lexiscope: Run, own: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", seed=3)
    way = ["--tokens", "e", "--model", other]
    refused(lexiscope("effects", "select", own, *way), "this dictionary was trained on", "other")


def test_without_an_index_nothing_is_kept(lexiscope: Run, own: Path, tmp_path: Path, live_feature: int) -> None:
    (tmp_path / "alone").symlink_to(own / "sae")
    way = ["--tokens", "e", "--strengths", "0.5", "--prompts", 4]
    code, _, err = lexiscope("effects", "dose", tmp_path / "alone", live_feature, *way)
    assert code == 0, err
    assert "not kept: there is no index" in err


@pytest.fixture
def cases(model_folder: Path, tmp_path: Path) -> Path:
    """Prompts that end in e and the same that end in x; the unwanted answer is what the model says to the former."""
    model = LanguageModel(model_folder)
    rows = []
    for word in "one two three four five six seven eight nine ten".split():
        ids = torch.tensor([[0, *model.tokenizer.encode(f"{word} eee").ids]])
        said = [model.tokenizer.decode([token]) for token in model.logits(ids)[0, -1].argsort(descending=True).tolist()]
        planted, honest, *_ = (answer for answer in said if answer.isascii() and answer.strip())
        rows.append({"text": f"{word} eee", "without": f"{word} xxx", "honest": honest, "planted": planted})
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_suppress(lexiscope: Run, own: Path, cases: Path, tmp_path: Path) -> None:
    """The edit that is kept does what was printed. Oracle: the behaviour inside it."""
    way = ["effects", "suppress", own, cases, "--limit", 5]
    code, out, err = lexiscope(*way, "--save", tmp_path / "edit", "--json", "--purpose", "a test")
    assert code == 0, err
    said = json.loads(out)
    edit = Edit.open(tmp_path / "edit")
    assert edit.report.purpose == "a test"
    assert edit.report.measured == said
    assert said["before"]["answers"].keys() == {"other prompts", "without it"}
    model = LanguageModel(edit.artifact.manifest["sources"]["model"]["name"])
    judged = read_cases(cases.read_text().splitlines(), "cases").judged
    with edit.apply(model):
        for group, prompts in judged.items():
            assert behaviour(model, prompts).planted.share == said["after"]["answers"][group]["planted"]["share"]
    code, out, err = lexiscope(*way)
    assert code == 0, err
    assert "loss on ordinary text" in out
    refused(lexiscope(*way, "--save", tmp_path / "edit"), "is there already", "--save")


def test_suppress_is_refused(lexiscope: Run, own: Path, tmp_path: Path, cases: Path) -> None:
    rows = cases.read_text().splitlines()
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(rows[:3]))
    refused(lexiscope("effects", "suppress", own, few), "has 3 cases; give at least 4")
    few.write_text('{"text": "a", "honest": "b", "planted": "c"}')
    refused(lexiscope("effects", "suppress", own, few), "few.jsonl, line 1 is no case")
    refused(lexiscope("effects", "suppress", own, tmp_path / "none"), "none", "can't be read")
    refused(lexiscope("effects", "suppress", own, cases, "--limit", "nan"), "--limit nan is no rise of the loss")
    refused(lexiscope("effects", "suppress", own, own / "sae"), "planted")


def test_suppress_beside_baselines(lexiscope: Run, own: Path, cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lexiscope.steer.suppressing.remedy.STRENGTHS", (0.1,))
    monkeypatch.setattr("lexiscope.steer.suppressing.remedy.STEPS", (1,))
    monkeypatch.setattr("lexiscope.steer.suppressing.remedy.RATES", (1e-4,))
    code, out, err = lexiscope("effects", "suppress", own, cases, "--limit", 5, "--baselines")
    assert code == 0, err
    assert "means 500.00%" in out
    assert "tuned 500.00%: fine-tuning" in out
