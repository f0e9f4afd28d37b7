"""An index of parts. Oracle: the bytes of the index made in one go."""

from __future__ import annotations

import random

import pytest
from index_world import Dictionary, Model
from tests.index.test_resume import contents

from lexiscope.core.artifact import open_artifact
from lexiscope.core.checkpoint import Keeping
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.tensors import read_tensors, write_tensors
from lexiscope.index import parts
from lexiscope.index.build import build_index, build_part
from lexiscope.index.concordance import collect
from lexiscope.index.config import IndexConfig
from lexiscope.index.parts import Share


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    for module in (collect, parts):
        monkeypatch.setattr(module, "CHUNK_TOKENS", 100)


@pytest.fixture
def make(world, store, tmp_path):
    def part(share, name=None, **settings):
        out = tmp_path / (name or share.replace("/", "-"))
        return build_part(Dictionary(), Model(world), store, Share.parse(share), out=out, **settings).path

    return part


@pytest.mark.parametrize("of", [1, 3, 200])
def test_parts_join_to_the_bytes_of_one_index(world, store, make, tmp_path, of):
    few = IndexConfig(sampled_codes=500)
    whole = build_index(Dictionary(), Model(world), store, out=tmp_path / "whole", config=few)
    made = [make(f"{number}/{of}", config=few, keeping=Keeping(every_steps=300)) for number in range(1, of + 1)]
    random.Random(0).shuffle(made)
    joined = build_index(Dictionary(), Model(world), store, out=tmp_path / "joined", config=few, parts=made)
    assert contents(joined.artifact.path) == contents(whole.artifact.path)
    assert joined.artifact.fingerprint == whole.artifact.fingerprint


def test_a_part_keeps_all_of_the_sample_that_the_whole_may_need(world, store, make, tmp_path, monkeypatch):
    """The sample is at most a quarter of all codes; of a part alone that may be fewer rows than of the whole."""
    monkeypatch.setattr(collect, "_FEW_CODES", 10)
    whole = build_index(Dictionary(), Model(world), store, out=tmp_path / "whole")
    made = [make(f"{number}/3") for number in range(1, 4)]
    assert [parts.read_part(open_artifact(path, parts.KIND)).collected.sample.halvings for path in made] == [0, 0, 0]
    joined = build_index(Dictionary(), Model(world), store, out=tmp_path / "joined", parts=made)
    assert contents(joined.artifact.path) == contents(whole.artifact.path)


def test_what_is_not_all_of_one_index_is_refused(world, store, make, tmp_path):
    def join(*made, **settings):
        with pytest.raises((InputError, ArtifactError)) as caught:
            build_index(Dictionary(), Model(world), store, out=tmp_path / "joined", parts=made, **settings)
        assert not (tmp_path / "joined").exists()
        return str(caught.value)

    first, second = make("1/2"), make("2/2")
    assert "give all parts, each once" in join(first)
    assert "give all parts, each once" in join(second)
    assert "give all parts, each once" in join(first, first, second)
    assert "of another index" in join(first, second, config=IndexConfig(logit_tokens=3))
    assert "is a store" in join(first, store.artifact.path)
    file = second / "part.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    assert "is damaged" in join(first, second)


def test_counts_whose_sum_runs_over_are_refused(make, tmp_path):
    artifact = open_artifact(make("1/1"), parts.KIND)
    tensors = {name: tensor.clone() for name, tensor in read_tensors(artifact.file(parts.PART)).items()}
    tensors["run/counts_F"][:4] += 2**62  # four times: nothing, modulo 2^64
    with write_artifact(tmp_path / "lie", parts.KIND, config=artifact.config) as draft:
        write_tensors(draft.path / parts.PART, tensors)
    with pytest.raises(ArtifactError, match="damaged"):
        parts.read_part(open_artifact(tmp_path / "lie", parts.KIND))


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "-1/2", "1/2/3", "1/99999999"])
def test_what_is_no_share(text):
    with pytest.raises(InputError, match="2/8"):
        Share.parse(text)


@pytest.mark.parametrize("num_tokens", [1, 99, 100, 101, 5432])
def test_shares_hold_every_row_once(num_tokens):
    for of in (1, 2, 7, 60):
        rows = [row for number in range(1, of + 1) for row in Share(number, of).rows(num_tokens)]
        assert rows == list(range(num_tokens))
