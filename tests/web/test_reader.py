"""What a server asks of the model. Oracles: a folder laid out as the Hugging Face hub's cache, a network that notes who
calls, and the functions of `lexiscope.index` themselves."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lexiscope import saes
from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.directions.effects import map_directions
from lexiscope.index.live.ablation import Window, ablate
from lexiscope.index.live.by_example import Marked, find_by_example
from lexiscope.index.live.reading import read_texts
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import topk
from lexiscope.steer.confirming.confirm import confirm
from lexiscope.steer.confirming.pairs import Pair
from lexiscope.web.reader import TextReader

PAIR = Pair(prompt="a (", answer="b", other_prompt="a [", other_answer="c")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def calls(monkeypatch, tmp_path) -> list[object]:
    """Host names that were looked up; the cache is empty."""
    seen: list[object] = []

    def note(host, *_, **__):
        seen.append(host)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", note)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return seen


def reader_of(name: str, revision: str | None, tmp_path) -> TextReader:
    model = {"name": name, "revision": revision, "fingerprint": "f"}
    index = Artifact(tmp_path, {"config": {"hook": "resid_post.2"}, "sources": {"model": model}})
    return TextReader(index, index)


@pytest.mark.parametrize(
    ("name", "revision"), [("someone/some-model", COMMIT), ("gpt2", None), ("../../etc", None), ("a/b/c", "main")]
)
def test_a_model_that_is_not_here_is_not_fetched(calls, tmp_path, name, revision):
    with pytest.raises(InputError, match="not on this machine"):
        reader_of(name, revision, tmp_path).read("text")
    assert calls == []


def test_a_model_that_was_fetched_before_is_found(calls, tmp_path):
    """The one in this cache is empty, which only somebody who looked there can tell."""
    (tmp_path / "models--someone--some-model" / "snapshots" / COMMIT).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{COMMIT} holds no config.json"):
        reader_of("someone/some-model", COMMIT, tmp_path).read("text")
    assert calls == []


def test_a_model_in_a_folder_is_read_where_it_was(calls, tmp_path):
    with pytest.raises(InputError, match="no model folder at /nowhere/small"):
        reader_of("/nowhere/small", None, tmp_path).read("text")
    assert calls == []


TEXT = "def f(x):\n    return x\n"


@pytest.fixture(scope="module")
def model():
    return LanguageModel("demo")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A small dictionary of the demo model on disk."""
    hook = HookPoint.parse("resid_post.1")
    x_1CD = model.read(torch.tensor([model.tokenizer.encode(TEXT * 4).ids]), [hook])[hook]
    sae = saes.create(topk.Config(num_latents=32, k=4, init="data"), x_1CD[0])
    out = tmp_path_factory.mktemp("reader") / "sae"
    sae.save(out, hook=hook)
    return out


def demo_reader(model, folder) -> TextReader:
    named = {"name": "demo", "revision": None, "fingerprint": model.fingerprint}
    index = Artifact(folder, {"config": {"hook": "resid_post.1"}, "sources": {"model": named}})
    return TextReader(index, open_artifact(folder, "sae"))


def told_apart(model):
    """Pairs of prompts after which the model goes on differently, all of the same two letters."""
    beginnings = ["a", "b", "def f", "x = ", "the", "return", "if", "for"]
    ends = [torch.stack([model.logits(torch.tensor([model.tokenizer.encode(text + end).ids]))[0, -1]
                         for text in beginnings]).mean(0) for end in "(]"]  # fmt: skip
    letters = {model.tokenizer.encode(letter).ids[0]: letter for letter in "abcdefghijklmnopqrstuvwxyz"}
    order = sorted(letters, key=lambda token: float(ends[0][token] - ends[1][token]))
    answer, other = letters[order[-1]], letters[order[0]]
    return [Pair(prompt=f"{text}(", answer=answer, other_prompt=f"{text}]", other_answer=other) for text in beginnings]


def test_it_answers_as_the_functions_do(model, folder):
    """Oracle: the same asked of `lexiscope.index` with the model and the loaded dictionary at hand."""
    sae, reader = saes.load(folder), demo_reader(model, folder)
    ids = model.tokenizer.encode(TEXT).ids
    assert reader.read(TEXT) == read_texts(model, sae, [TEXT])[0]
    feature = reader.read(TEXT).tokens[4].firings[0].feature
    found = reader.ablate(feature, [Window(ids, 4)])
    assert found == ablate(model, sae, feature, [Window(ids, 4)])
    others = torch.tensor([3, 7])
    assert reader.ablate(feature, [Window(ids, 4)], others=others) == ablate(
        model, sae, feature, [Window(ids, 4)], others=others
    )
    assert found.fired == 1
    pairs = told_apart(model)
    assert reader.confirm(feature, pairs, "x", others=others) == confirm(
        model, sae, feature, pairs, hypothesis="x", others=others
    )
    assert reader.by_example([TEXT], ["a b"]) == find_by_example(model, sae, [TEXT], ["a b"])


def test_an_index_tells_strengths_and_means(model, folder):
    class Index:
        def summaries(self, features):
            return {one: SimpleNamespace(max_activation=50.0) for one in features}

        means_F = np.arange(32, dtype=np.float32) / 2

    reader = demo_reader(model, folder)
    firing = reader.read(TEXT, Index()).tokens[4].firings[0]
    assert firing.relative == pytest.approx(firing.activation / 50, rel=1e-4)
    for one in reader.promotes("return", Index()).features:
        assert one.at_mean == pytest.approx(one.effect * one.feature / 2, rel=1e-4)
    strongest = [one.at_mean for one in reader.promotes("return", Index(), by="at_mean").features]
    assert strongest == sorted(strongest, reverse=True)


def test_directions_on_the_disk_promote_as_those_in_memory(model, folder):
    mapped, loaded = demo_reader(model, folder), demo_reader(model, folder)
    loaded.read("a")
    assert torch.equal(map_directions(open_artifact(folder, "sae")), saes.load(folder).directions_FD)
    assert mapped.promotes("return", by="standardised") == loaded.promotes("return", by="standardised")
    assert "_parts" not in mapped.__dict__
    assert mapped._model.fingerprint == model.fingerprint


def test_a_dictionary_that_writes_elsewhere_promotes_nothing(model, tmp_path):
    sae = topk.TopK(topk.Config(num_latents=4, k=1), model.width)
    sae.save(tmp_path / "sae", hook=HookPoint.parse("mlp_in.1"))
    with pytest.raises(InputError, match=r"mlp_in\.1"):
        demo_reader(model, tmp_path / "sae").promotes("a")


def test_questions_of_several_threads_wait_for_each_other(model, folder):
    """Oracle: the answers of one thread."""
    reader = demo_reader(model, folder)
    texts = [f"def f{number}(x): return {number}" for number in range(8)]
    alone = [reader.read(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(reader.read, texts)) == alone


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda reader: reader.read("x" * 4001), "4001 characters"),
        (lambda reader: reader.read(""), "nothing to read"),
        (lambda reader: reader.promotes(""), "no token"),
        (lambda reader: reader.read("a\ud800"), "half a character"),
        (lambda reader: reader.promotes("\udfff"), "half a character"),
        (lambda reader: reader.by_example(["a"], ["\ud800"]), "half a character"),
        (lambda reader: reader.ablate(0, []), "between 1 and 64"),
        (lambda reader: reader.ablate(32, [Window([1], 0)]), "no feature 32"),
        (lambda reader: reader.ablate(0, [Window([1] * 300, 0)]), "positions"),
        (lambda reader: reader.confirm(0, [PAIR] * 7, ""), "7 pairs; give between 8 and 64"),
        (lambda reader: reader.confirm(0, [PAIR] * 65, ""), "65 pairs; give between 8 and 64"),
        (lambda reader: reader.confirm(32, [PAIR] * 8, ""), "no feature 32"),
        (
            lambda reader: reader.confirm(0, [PAIR.model_copy(update={"prompt": f"{n} " * 999}) for n in range(8)], ""),
            "positions",
        ),
        (lambda reader: reader.by_example(["a"] * 20, ["b"] * 20), "at most 32"),
        (lambda reader: reader.by_example(["a"], []), "unwanted"),
        (lambda reader: reader.by_example(["a"], [Marked("x" * 4001)]), "4001 characters"),
    ],
)
def test_what_cannot_be_answered_is_said(model, folder, ask, sentence):
    with pytest.raises(InputError, match=sentence):
        ask(demo_reader(model, folder))


def test_without_the_sae_nothing_is_answered(model, folder):
    reader = TextReader(demo_reader(model, folder)._index, None)
    asks = (
        lambda: reader.read("a"),
        lambda: reader.promotes("a"),
        lambda: reader.ablate(0, [Window([1], 0)]),
        lambda: reader.confirm(0, [PAIR] * 8, ""),
        lambda: reader.by_example(["a"], ["b"]),
    )
    for ask in asks:
        with pytest.raises(InputError, match="SAE of this index"):
            ask()
