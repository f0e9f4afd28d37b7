"""Labels found by what they mean, through the app. Oracle: a label itself, which is closest to its own words."""

from __future__ import annotations

import shutil

import pytest
from starlette.testclient import TestClient

from lexiscope.index.notes import By, Notes
from lexiscope.index.notes.meaning import Meaning
from lexiscope.lm.encoder import SentenceEncoder
from lexiscope.web.app import create_app
from lexiscope.web.meaning import VARIABLE

from ..lm.test_encoder import write_encoder  # noqa: TID252 - tests are not installed


@pytest.fixture
def own(root, tmp_path):
    """A copy of the run, with more labels than a search gives."""
    own = shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))
    with Notes.open(own / "demo" / "index") as notes:
        notes.labels.add(4, "closing quote", By(author="ana"))
        notes.labels.add(5, "number of python", By(author="ana"))
    return own


def ask(own, **asked):
    client = TestClient(create_app(own), base_url="http://127.0.0.1:8765")
    assert client.get("/d/demo", params=asked).status_code == 200
    found = client.get("/d/demo.json", params=asked).json()
    return [row["feature"] for row in found["page"]["features"]], found["problem"]


def test_without_an_encoder_it_says_that_words_are_searched(own, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    features, problem = ask(own, search="closing quote", look="meaning")
    assert features == []
    assert "by their words only" in problem
    assert "LEXISCOPE_ENCODER" in problem
    assert ask(own, search="closing quote", look="labels") == ([4], None)


def test_with_one_the_closest_are_found(own, tmp_path, monkeypatch):
    folder = write_encoder(tmp_path / "bert")
    monkeypatch.setenv(VARIABLE, str(folder))
    monkeypatch.setattr("lexiscope.web.meaning.MOST_HITS", 1)
    assert "lexiscope embed" in ask(own, search="x", look="meaning")[1]
    with Notes.open(own / "demo" / "index") as notes:
        Meaning(notes, SentenceEncoder(folder)).update()
    assert ask(own, search="closing quote", look="meaning") == ([4], None)
    assert ask(own, search="number of python", look="meaning") == ([5], None)
