"""Every verb as a user calls it. Oracle: the exit code, one sentence, and what is on disk afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import with_set, write_model

Run = Callable[..., "tuple[int, str, str]"]


def test_the_stages_leave_artifacts_that_fit(run_folder: Path) -> None:
    from lexiscope.core.artifact import open_artifact

    store, sae = open_artifact(run_folder / "store", "store"), open_artifact(run_folder / "sae", "sae")
    assert sae.source("store")["fingerprint"] == store.fingerprint
    for kind in ("scorecard", "index"):
        artifact = open_artifact(run_folder / kind, kind)
        assert artifact.source("sae")["fingerprint"] == sae.fingerprint
        artifact.verify()


def test_the_same_command_again_does_nothing(lexiscope: Run, run_folder: Path) -> None:
    before = (run_folder / "index" / "manifest.json").read_bytes()
    code, _, err = lexiscope("index", run_folder / "sae", "--out", run_folder / "index")
    assert code == 0
    assert "is done already" in err
    assert (run_folder / "index" / "manifest.json").read_bytes() == before


def test_json_is_one_object(lexiscope: Run, run_folder: Path) -> None:
    verbs = [("measure", run_folder / "scorecard"), ("index", run_folder / "index")]
    for verb, out in verbs:
        code, printed, err = lexiscope(verb, run_folder / "sae", "--out", out, *MEASURED.get(verb, []), "--json")
        assert code == 0, err
        assert isinstance(json.loads(printed), dict)


MEASURED = {
    "measure": [
        part
        for setting in ("tokens=500", "loss_tokens=300", "concept_tokens=2000", "sample_tokens=1000")
        for part in ("--set", setting)
    ]
}


def refused(outcome: tuple[int, str, str], *words: str) -> None:
    code, out, err = outcome
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    said = [line for line in err.splitlines() if line.startswith("lexiscope: ")]
    assert len(said) == 1, err
    assert err.splitlines()[-1] == said[0]
    for word in words:
        assert word in said[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "{there}/nothing", "--corpus", "{texts}"], ["nothing"]),
        (["--model", "{model}", "--corpus", "{there}/nothing"], ["nothing"]),
        (["--model", "{model}", "--corpus", "generated:unheard"], ["unheard", "indirect_objects"]),
        (["--model", "{model}", "--corpus", "{texts}", "--hook", "resid_post.9"], ["resid_post.9"]),
        (["--model", "{model}", "--corpus", "{texts}", "--hook", "residual"], ["residual", "resid_post.N"]),
        (["--model", "{model}", "--corpus", "{texts}", "--set", "tokns=3"], ["tokns"]),
        (["--model", "{model}", "--corpus", "{texts}", "--set", "tokens"], ["key=value"]),
        (["--model", "{model}", "--corpus", "{texts}", "--set", "context=9999"], ["9999", "64"]),
        (["--model", "{model}", "--corpus", "{texts}", "--tokens", "100000000000000"], ["free"]),
        (["{there}/recipe.toml"], ["recipe.toml"]),
        (["--model", "{model}", "--corpus", "{empty}"], ["no usable document"]),
        (["--model", "{model}", "--corpus", "{binary}"], ["no usable document"]),
    ],
)
def test_harvest_refuses(
    lexiscope: Run, model_folder: Path, corpus_folder: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    (tmp_path / "in" / "binary").mkdir()
    (tmp_path / "in" / "binary" / "data.txt").write_bytes(bytes(range(256)) * 10)
    there = tmp_path / "in"
    places = {
        "there": there,
        "model": model_folder,
        "texts": corpus_folder,
        "empty": there / "empty",
        "binary": there / "binary",
    }
    given = [argument.format(**places) for argument in arguments]
    refused(lexiscope("harvest", *given, "--out", tmp_path / "out" / "store"), *words)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["sae.kk=3"], ["kk"]),
        (["sae.k=0"], ["k"]),
        (["sae.expansion=inf"], ["expansion"]),
        (["optimise.lr=nan"], ["lr"]),
        (["sae.architecture=tpk"], ["tpk", "topk"]),
        (["sae.architecture=neurons"], ["nothing to train"]),
        (["optimise.tokens=none"], ["tokens"]),
        (["hook=mlp_out.1"], ["mlp_out.1"]),
        (["hook=nowhere"], ["nowhere"]),
    ],
)
def test_train_refuses(lexiscope: Run, run_folder: Path, tmp_path: Path, settings: list[str], words: list[str]) -> None:
    given = [part for setting in settings for part in ("--set", setting)]
    refused(lexiscope("train", "--store", run_folder / "store", *given, "--out", tmp_path / "sae"), *words)
    assert list(tmp_path.iterdir()) == []


def test_another_run_in_the_folder_is_refused(lexiscope: Run, run_folder: Path) -> None:
    settings = ["--set", "sae.k=5", "--set", "sae.expansion=2"]
    outcome = lexiscope("train", "--store", run_folder / "store", *settings, "--out", run_folder / "sae")
    refused(outcome, "sae.k is 4 there, 5 was asked for")


@pytest.mark.parametrize(
    ("change", "word"),
    [(["--corpus", "generated:quotes"], "source"), (["--seed", "5"], "seed"), (["--set", "split=train"], "split")],
)
def test_a_store_of_other_text_is_not_taken_for_done(
    lexiscope: Run, run_folder: Path, model_folder: Path, corpus_folder: Path, change: list[str], word: str
) -> None:
    same = ["--model", model_folder, "--corpus", corpus_folder, "--hook", "blocks.0.hook_resid_post", "--tokens", 8000]
    same += ["--set", "context=32", "--set", "batch=16", "--out", run_folder / "store"]
    assert "is done already" in lexiscope("harvest", *same).err
    refused(lexiscope("harvest", *same, *change), word)


def test_a_card_of_other_text_is_not_taken_for_done(lexiscope: Run, run_folder: Path) -> None:
    given = ["measure", run_folder / "sae", *MEASURED["measure"]]
    assert "is done already" in lexiscope(*given).err  # beside the autoencoder by default
    refused(lexiscope(*given, "--corpus", "generated:quotes"), "source")


def test_a_default_is_not_any_value(lexiscope: Run, run_folder: Path) -> None:
    given = ["sae.k=4", "optimise.tokens=20000", "optimise.batch_tokens=500", "optimise.heldout_tokens=400"]
    arguments = [part for setting in given for part in ("--set", setting)]
    outcome = lexiscope("train", "--store", run_folder / "store", *arguments, "--out", run_folder / "sae")
    refused(outcome, "sae.expansion is 2.0 there, None was asked for")


@pytest.mark.parametrize("verb", ["measure", "index"])
def test_a_store_of_another_model_is_refused(
    lexiscope: Run, run_folder: Path, corpus_folder: Path, tmp_path: Path, verb: str
) -> None:
    sizes = ["--hook", "resid_post.0", "--tokens", 1000, "--set", "context=32"]
    other = write_model(tmp_path / "other", seed=1)
    store = tmp_path / "store"
    assert lexiscope("harvest", "--model", other, "--corpus", corpus_folder, *sizes, "--out", store).code == 0
    outcome = lexiscope(verb, run_folder / "sae", "--store", store, "--out", tmp_path / "x")
    refused(outcome, "holds activations of")
    assert not (tmp_path / "x").exists()


def test_interrupted(lexiscope: Run, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lexiscope.train.trainer.Trainer.step", stop)
    code, _, err = lexiscope("train", "--store", run_folder / "store", "--out", tmp_path / "sae")
    assert code == 130
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["measure", "index"])
def test_a_folder_of_another_kind_is_refused(lexiscope: Run, run_folder: Path, tmp_path: Path, verb: str) -> None:
    refused(lexiscope(verb, run_folder / "store", "--out", tmp_path / "x"), "is a store, but a sae is needed")
    refused(lexiscope(verb, tmp_path / "absent", "--out", tmp_path / "x"), "absent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["measure", "index"])
def test_another_model_is_refused(lexiscope: Run, run_folder: Path, tmp_path: Path, verb: str) -> None:
    other = write_model(tmp_path / "other", seed=1)
    outcome = lexiscope(verb, run_folder / "sae", "--model", other, "--out", tmp_path / "x")
    refused(outcome, "holds activations of")


@pytest.mark.parametrize("verb", ["measure", "index"])
def test_a_truncated_file_is_refused(lexiscope: Run, run_folder: Path, tmp_path: Path, verb: str) -> None:
    sae = shutil.copytree(run_folder / "sae", tmp_path / "sae")
    with (sae / "sae.safetensors").open("r+b") as file:
        file.truncate(100)
    refused(lexiscope(verb, sae, "--out", tmp_path / "x"), "sae.safetensors", "truncated")
    store = shutil.copytree(run_folder / "store", tmp_path / "store")
    shard = next((store / "activations").rglob("*.safetensors"))
    with shard.open("r+b") as file:
        file.truncate(100)
    refused(lexiscope(verb, run_folder / "sae", "--store", store, "--out", tmp_path / "x"), shard.name, "truncated")
    assert not (tmp_path / "x").exists()


def test_one_text_file_is_a_corpus(lexiscope: Run, model_folder: Path, corpus_folder: Path, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("".join(file.read_text() for file in sorted(corpus_folder.iterdir())) * 3)
    out = tmp_path / "run"
    sizes = ["--hook", "resid_post.0", "--tokens", 60000, "--set", "context=32"]
    made = lexiscope("harvest", "--model", model_folder, "--corpus", book, *sizes, "--out", out / "store")
    assert made.code == 0, made.err
    short = ["--set", "optimise.tokens=2000", "--set", "optimise.batch_tokens=500", "--set", "sae.k=4"]
    made = lexiscope("train", "--store", out / "store", *short, "--out", out / "sae")
    assert made.code == 0, made.err
    made = lexiscope("measure", out / "sae", *MEASURED["measure"])
    assert made.code == 0, made.err


def test_view_refuses_a_folder_that_is_not_there(lexiscope: Run, tmp_path: Path) -> None:
    refused(lexiscope("view", tmp_path / "absent"), "absent")


def test_demo_runs_on_another_model(lexiscope: Run, model_folder: Path, corpus_folder: Path, tmp_path: Path) -> None:
    small = [
        "tokens=6000",
        "context=32",
        "sae.expansion=2",
        "sae.k=4",
        "optimise.tokens=10000",
        "optimise.batch_tokens=500",
    ]
    small += [
        "measure.tokens=500",
        "measure.loss_tokens=300",
        "measure.concept_tokens=2000",
        "measure.sample_tokens=1000",
    ]
    given = [part for setting in small for part in ("--set", setting)]
    arguments = ["demo", "--model", model_folder, "--corpus", corpus_folder, *given, "--out", tmp_path / "run"]
    code, printed, err = lexiscope(*arguments, "--json")
    assert code == 0, err
    result = json.loads(printed)
    assert set(result) >= {"seconds", "peak_rss_bytes", "tokens", "L0", "fvu", "loss_recovered_mean_ablation"}
    assert set(result) >= {"dead_fraction", "concept_coverage"}
    assert set(result["seconds"]) >= {"harvest", "train", "measure", "index", "report", "total"}
    assert result["L0"] <= 4
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    again = json.loads(lexiscope(*arguments, "--json")[1])
    assert again["fvu"] == result["fvu"]


def test_finetune(lexiscope: Run, run_folder: Path, tmp_path: Path) -> None:
    """Its own artifact, made from the first; again: nothing to do; numbers of both for machines."""
    from lexiscope.core.artifact import open_artifact

    asked = ["finetune", run_folder / "sae", "--out", tmp_path / "tuned", "--set", "tokens=3000", "--set", "context=32"]
    asked += ["--set", "optimise.heldout_tokens=600"]
    code, printed, err = lexiscope(*asked, "--json")
    assert code == 0, err
    said = json.loads(printed)
    assert {"kl", "cross_entropy"} == set(said["before"]) == set(said["after"])
    tuned = open_artifact(tmp_path / "tuned", "sae")
    assert tuned.source("sae")["fingerprint"] == open_artifact(run_folder / "sae", "sae").fingerprint
    code, _, err = lexiscope(*asked)
    assert code == 0
    assert "is done already" in err
    refused(lexiscope("finetune", run_folder / "store", "--out", tmp_path / "x"), "store")
    refused(lexiscope("finetune", run_folder / "sae", "--out", tmp_path / "x", "--set", "loss=mse"), "loss")
    assert not (tmp_path / "x").exists()


def test_a_run_that_diverges_fails_and_leaves_nothing(lexiscope: Run, run_folder: Path, tmp_path: Path) -> None:
    """Planted: a learning rate at which the second loss overflows."""
    settings = ["optimise.lr=1e30", "optimise.tokens=20000", "optimise.batch_tokens=500", "optimise.heldout_tokens=400"]
    code, out, err = lexiscope("train", "--store", run_folder / "store", *with_set(settings), "--out", tmp_path / "sae")
    assert code == 1, err
    assert out == ""
    assert "Traceback" not in err
    assert "though the activations are finite: the weights have run away; lower optimise.lr (now 1e+30)" in err
    assert not list(tmp_path.iterdir())
