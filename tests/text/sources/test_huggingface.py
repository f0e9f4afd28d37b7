"""Oracle: a stand-in for the `datasets` library, whose records are known. No network."""

import sys
import types

import pytest

from lexiscope.core.errors import CorpusError, InputError
from lexiscope.text.corpus import Corpus


class Stream:
    """The part of an IterableDataset that is used."""

    info = types.SimpleNamespace(license="cc-by-4.0")

    def __init__(self, records):
        self._records = records
        self.column_names = list(records[0])

    def __iter__(self):
        return iter(self._records)


@pytest.fixture
def library(monkeypatch):
    """Puts a `datasets` module in place that opens what the test gives it."""
    fake = types.ModuleType("datasets")
    fake.asked = []

    def load_dataset(name, configuration, *, split, streaming):
        fake.asked.append((name, configuration, split, streaming))
        if isinstance(fake.opens, Exception):
            raise fake.opens
        return fake.opens

    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_streams_the_text_column(library):
    library.opens = Stream([{"body": f"text {number}", "n": 1} for number in range(20)] + [{"body": None, "n": 1}])
    corpus = Corpus("hf:some/set:small", text_column="body", seed=1)
    documents = {document.id: document for document in corpus.documents()}
    assert library.asked == [("some/set", "small", "train", True)]
    assert {name: item.text for name, item in documents.items()} == {
        f"hf:some/set/{number}": f"text {number}" for number in range(20)
    }
    assert list(documents) != sorted(documents, key=lambda name: int(name.rsplit("/", 1)[1]))
    assert {item.licence for item in documents.values()} == {"cc-by-4.0"}
    assert corpus.report.skipped == {"'body' that is not a string": 1}


def test_any_seed_gives_every_record_under_the_same_id(library):
    library.opens = Stream([{"text": f"text {number}"} for number in range(2500)])
    orders = [[(item.id, item.text) for item in Corpus("hf:some/set", seed=seed).documents()] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == sorted((f"hf:some/set/{n}", f"text {n}") for n in range(2500))


def test_missing_column(library):
    library.opens = Stream([{"body": "text"}])
    with pytest.raises(CorpusError, match="no column 'text'; it has body"):
        Corpus("hf:some/set")


def test_a_dataset_that_cannot_be_opened(library):
    library.opens = ConnectionError("no route to the hub\nlong traceback")
    with pytest.raises(CorpusError, match=r"'some/set' can't be opened: no route to the hub$"):
        Corpus("hf:some/set")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'lexiscope\[hf\]'"):
        Corpus("hf:some/set")
