"""Oracles: files written by this test; `is_heldout` decides the split; SHA-256 over ids and texts worked out here."""

import hashlib
import itertools
import json
from pathlib import Path

import pytest

from lexiscope.core.errors import CorpusError, InputError
from lexiscope.text import corpus as module
from lexiscope.text import generators
from lexiscope.text.corpus import Corpus
from lexiscope.text.document import is_heldout


def write_records(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def characters_by_source(documents):
    """Running totals of characters, by the first part of the id, after every document."""
    totals = {}
    for document in documents:
        name = document.id.split(":")[0]
        totals[name] = totals.get(name, 0) + len(document.text)
        yield dict(totals)


@pytest.mark.parametrize("source", ["stdlib", "demo", "generated"])
def test_the_same_source_and_seed_give_the_same_documents(source):
    first, again, other = (list(itertools.islice(Corpus(source, seed=seed).documents(), 40)) for seed in (5, 5, 6))
    assert first == again
    assert [document.id for document in first] != [document.id for document in other]
    assert len({document.id for document in first}) == 40


def test_sources_take_turns_by_characters():
    longest = 300_000  # no document of the two is longer
    for totals in itertools.islice(characters_by_source(Corpus("stdlib+generated").documents()), 1500):
        assert abs(totals.get("stdlib", 0) - totals.get("generated", 0)) <= longest
    assert min(totals.values()) > longest


def test_generators_stop_with_the_sources_beside_them(tmp_path):
    write_records(tmp_path / "data.jsonl", ["some text " * 20] * 50)
    found = list(Corpus(f"generated+{tmp_path / 'data.jsonl'}").documents())
    *_, totals = characters_by_source(found)
    assert totals["files"] == 50 * 200
    assert 0.7 < totals["generated"] / totals["files"] < 1.4
    assert found[-1].kind in ("generated", "prose")


def test_a_path_may_hold_a_plus(tmp_path):
    path = write_records(tmp_path / "a+b.jsonl", ["one"])
    assert [document.text for document in Corpus(str(path)).documents()] == ["one"]
    assert [document.text for document in Corpus(path).documents()] == ["one"]


def test_splits_part_the_documents(tmp_path):
    write_records(tmp_path / "data.jsonl", [f"text {number}" for number in range(300)])
    parts = {
        split: {document.id for document in Corpus(tmp_path, split=split).documents()}
        for split in ("all", "train", "heldout")
    }
    assert parts["train"] | parts["heldout"] == parts["all"]
    assert len(parts["all"]) == 300
    assert all(is_heldout(name) for name in parts["heldout"])
    assert not any(is_heldout(name) for name in parts["train"])
    assert parts["heldout"]


def test_nothing_on_this_side_of_the_split(tmp_path):
    number = next(number for number in range(100) if not is_heldout(f"files:{number}.txt"))
    path = tmp_path / f"{number}.txt"
    path.write_text("text")
    with pytest.raises(CorpusError, match="other side of the split"):
        list(Corpus(path, split="heldout").documents())


def test_long_documents_come_in_pieces_on_one_side(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_DOCUMENT_CHARACTERS", 50)
    monkeypatch.setattr("lexiscope.text.pieces.MAX_DOCUMENT_CHARACTERS", 50)
    texts = [f"line {number}\n" * 20 for number in range(100)]
    write_records(tmp_path / "data.jsonl", texts)
    corpus = Corpus(tmp_path)
    found = list(corpus.documents())
    assert corpus.report.split == 100
    assert max(len(document.text) for document in found) <= 50
    whole = {}
    for document in found:
        name = document.id.split("#")[0]
        whole[name] = whole.get(name, "") + document.text
        assert is_heldout(document.id) == is_heldout(name)
    assert list(whole.values()) == texts


def test_report_and_description(tmp_path):
    write_records(tmp_path / "data.jsonl", ["one", "", "three", "nul\0"])
    corpus = Corpus(tmp_path / "data.jsonl", seed=3)
    found = list(corpus.documents())
    description = corpus.describe()
    expected = hashlib.sha256("".join(f"{item.id}\n{item.text}\n" for item in found).encode()).hexdigest()
    assert description["fingerprint"] == expected
    assert description["report"] == {
        "documents": 2,
        "characters": 8,
        "skipped": {"NUL characters": 1, "empty": 1},
        "split": 0,
    }
    assert description["seed"] == 3
    assert description["licences"] == ["unknown"]
    json.dumps(description)
    list(corpus.documents())
    assert corpus.describe() == description, "a second pass counts anew"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("standard", "no text source 'standard'"),
        ("stdlib+nowhere.txt", "no text source 'nowhere.txt'"),
        ("stdlib+", "no text source ''"),
        ("", "no text source ''"),
        ("a\0b", "no text source"),
        ("x" * 5000, "no text source"),
        ("hf:", "no text source 'hf:'"),
        ("stdlib:json", "no text source"),
        ("generated:poems", "no generator .*'poems'"),
    ],
)
def test_unknown_sources(source, message):
    with pytest.raises(InputError, match=message):
        list(Corpus(source).documents())


def test_unknown_split():
    with pytest.raises(InputError, match="no split 'test'"):
        Corpus("stdlib", split="test")


def test_every_generator_can_be_read_alone():
    for name in generators.names():
        first = next(Corpus(f"generated:{name}").documents())
        assert first.id == f"generated:{name}/0/0"
        assert first.kind == "generated"


def test_a_name_comes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "stdlib").mkdir()
    (tmp_path / "stdlib" / "a.txt").write_text("text")
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("stdlib", "demo"):
        assert next(Corpus(name).documents()).id.startswith("stdlib:")
    assert next(Corpus("./stdlib").documents()).id == "files:a.txt"


def test_a_path_is_found_again_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("Some text.")
    monkeypatch.chdir(tmp_path)
    described = Corpus("a.txt+stdlib").describe()
    assert described["source"] == f"{tmp_path / 'a.txt'}+stdlib"
    assert Corpus(Path("a.txt")).describe()["source"] == str(tmp_path / "a.txt")
    assert Corpus("demo").describe()["source"] == "demo"
