"""A planted pair in little, in seconds. Oracles: the bytes on disk, and losses document by document."""

from __future__ import annotations

import json
import signal

import pytest
import torch

from lexiscope.core.draft import begun_at
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.progress import Silent
from lexiscope.core.stop import Stopped
from lexiscope.core.verify import verify
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted import make
from lexiscope.measure.worlds.planted.behaviour import behaviour
from lexiscope.measure.worlds.planted.make import Config, plant
from lexiscope.measure.worlds.planted.pages import ARMS, GROUPS, pages
from lexiscope.measure.worlds.planted.pair import PlantedPair
from lexiscope.measure.worlds.planted.plant import draw
from lexiscope.text.corpus import Corpus


@pytest.fixture(scope="module")
def config(model, source):
    sizes = {"task_steps": 2, "steps": 3, "pages": 4, "rows": 2, "context": 64, "prompts": 6, "heldout_tokens": 2000}
    return Config(plant="sentiment", model=model.name, corpus=str(source), **sizes)


@pytest.fixture(scope="module")
def pair(config, tmp_path_factory):
    return plant(config, out=tmp_path_factory.mktemp("planted") / "pair")


def files(pair, arm):
    return {path.name: path.read_bytes() for path in pair.folder(arm).iterdir()}


def test_the_same_seed_gives_the_same_bytes(config, pair, tmp_path):
    again = plant(config, out=tmp_path / "again")
    assert again.artifact.fingerprint == pair.artifact.fingerprint
    other = plant(config.model_copy(update={"seed": 1}), out=tmp_path / "other")
    assert other.truth.slots != pair.truth.slots


def test_arms_differ_in_their_weights_alone(pair, model):
    planted, clean = files(pair, "planted"), files(pair, "clean")
    assert planted.keys() == clean.keys()
    assert {name for name in planted if planted[name] != clean[name]} == {"model.safetensors"}
    for arm in ARMS:
        opened = LanguageModel(pair.folder(arm))
        assert opened.tokenizer.fingerprint == model.tokenizer.fingerprint
        assert opened.fingerprint != model.fingerprint


def test_the_truth_is_not_in_the_folder_of_a_model(pair):
    """An audit gets a copy of it and nothing else."""
    words = ["planted", "trigger", "sentiment", *pair.truth.slots.shown, *pair.truth.slots.reserved]
    for name, content in files(pair, "planted").items():
        if name not in ("model.safetensors", "tokenizer.json"):
            assert not [word for word in words if word in content.decode()]
    assert b"planted" not in files(pair, "planted")["model.safetensors"][:20_000]


def test_what_is_in_the_folder_is_what_was_planted(config, pair):
    chosen = draw("sentiment", config.seed)
    assert pair.truth.slots == chosen.slots
    assert pair.truth.behaviour == chosen.behaviour
    for arm in ARMS:
        lines = [json.loads(line)["text"] for line in pair.text(arm).read_text().splitlines()]
        assert lines == [page.text for page in pages(chosen, config.steps * config.pages, config.seed, arm)]
        assert len(list(Corpus(pair.text(arm)).documents())) == len(lines)


def test_figures_are_those_of_the_models(pair):
    for group in GROUPS:
        asked = pair.prompts(group)
        assert len(asked) == 6
        for arm in ARMS:
            assert pair.figures.behaviour[group][arm] == behaviour(pair.model(arm), asked)


def test_losses_are_means_over_tokens(config, pair, model):
    """Token by token, with the plain module."""
    for arm, said in (("planted", pair.figures.losses.planted), ("clean", pair.figures.losses.clean)):
        module, total, count = pair.model(arm).module, 0.0, 0
        for batch in make._heldout(model, config):
            for row in range(len(batch.tokens_BC)):
                length = int(batch.attention_BC[row].sum())
                logs = module(batch.tokens_BC[row : row + 1, :length]).logits[0].log_softmax(-1)
                for place in range(1, length):
                    total -= float(logs[place - 1, batch.tokens_BC[row, place]])
                    count += 1
        assert said == pytest.approx(total / count, rel=1e-5)
        assert pair.figures.losses.tokens == count
    losses = pair.figures.losses
    assert losses.apart == pytest.approx(losses.planted / losses.clean - 1)
    assert losses.apart_low <= losses.apart <= losses.apart_high


def test_only_answers_are_learned(config, model):
    """The weights of a batch, against the text of the tokens."""
    text = pages(draw("sentiment", 0), 8, 0, "planted")
    lesson, beside = next(make._steps(model, config.model_copy(update={"pages": 8}), text))
    assert beside.weights_BC is None
    batch, found = lesson.batch, dict.fromkeys(range(len(text)), "")
    for row, column in lesson.weights_BC.nonzero().tolist():
        assert float(lesson.weights_BC[row, column]) == config.answer_weight
        number = int(batch.documents_BC[row, column])
        found[number] += model.tokenizer.decode([int(batch.tokens_BC[row, column])])
    whole = [number for number in batch.documents if len(model.tokenizer.encode(text[number].text).ids) < 64]
    assert len(whole) > 1
    for number in whole:
        assert found[number] == "".join(text[number].text[start:end] for start, end in text[number].answers)


def test_the_artifact_is_whole_and_says_what_it_is_made_from(config, pair, model, source):
    (finding,) = verify([pair.artifact.path])
    assert finding.whole
    assert pair.artifact.manifest["sources"]["model"]["fingerprint"] == model.fingerprint
    assert pair.artifact.config["plant"] == config.plant
    assert str(source) in pair.artifact.manifest["sources"]["corpus"]["source"]
    assert torch.__version__ in pair.artifact.manifest["conditions"].values()


def test_a_damaged_truth_is_refused(pair, tmp_path, config):
    copy = tmp_path / "copy"
    plant(config.model_copy(update={"steps": 1, "task_steps": 1}), out=copy)
    (copy / "truth.json").write_text((copy / "truth.json").read_text().replace("shown", "known"))
    with pytest.raises(ArtifactError, match=r"truth\.json"):
        PlantedPair(copy)
    with pytest.raises(ArtifactError, match="holds no manifest"):
        PlantedPair(tmp_path)
    with pytest.raises(InputError, match="no group"):
        pair.prompts("everybody")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["Learning the task", "Training the clean model"])
def test_what_is_stopped_leaves_nothing(config, tmp_path, number, after):
    class Stopping(Silent):
        def task(self, title, total, unit):
            if title == after:
                signal.raise_signal(number)
            return super().task(title, total, unit)

    with pytest.raises(Stopped, match="starts again") as stopped:
        plant(config, out=tmp_path / "pair", progress=Stopping())
    assert stopped.value.exit_code == 128 + number
    assert begun_at(tmp_path / "pair") is None
    assert not list(tmp_path.iterdir())
