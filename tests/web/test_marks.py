"""Marks and ablations through the app. Oracles: the notes file opened by itself, and `ablate` on the same windows."""

from __future__ import annotations

import shutil

import pytest
import torch
from index_world import Dictionary, Model
from starlette.testclient import TestClient

from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.live.ablation import ablate, windows_at
from lexiscope.index.notes import Notes
from lexiscope.web.ablated import examples_of
from lexiscope.web.app import create_app
from lexiscope.web.security.access import Access

BASE = "http://127.0.0.1:8765"
FEATURE = "/d/demo/features/4"


@pytest.fixture
def own(root, tmp_path):
    """A copy of the run to write beside."""
    return shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))


@pytest.fixture
def client(own, world):
    return client_of(own, world)


def client_of(own, world, **access):
    app = create_app(own, access=Access.at(port=8765, **access))
    app.state.library.dictionary("demo").reader.__dict__["_parts"] = (Model(world), Dictionary())
    return TestClient(app, base_url=BASE)


def mark(client, **change):
    return client.post(f"{FEATURE}/marks.json", json=change)


def test_what_is_written_is_acknowledged_when_others_can_read_it(client, own):
    assert mark(client, action="label", text="opening (", author="ana").json()["labels"][0]["text"] == "opening ("
    mark(client, action="tag", text="brackets")
    mark(client, action="note", text="two\nlines")
    mark(client, action="bookmark", author="ana")
    with Notes.open(own / "demo" / "index", readonly=True) as notes:
        [label] = notes.labels.of(4)
        assert (label.text, label.by.author, label.by.kind) == ("opening (", "ana", "human")
        assert [tag.text for tag in notes.tags.of(4)] == ["brackets"]
        assert notes.texts.of(4)[0].text == "two\nlines"
        assert notes.bookmarks.of(4)[0].by.author == "ana"


def test_the_page_shows_it_escaped(client):
    assert "unlabelled" in client.get(FEATURE).text
    mark(client, action="label", text="<script>alert(1)</script> \u202e")
    page = client.get(FEATURE).text
    assert "unlabelled" not in page
    assert "<script>alert" not in page
    assert "⟨U+202E⟩" in page


def test_what_was_written_can_be_taken_away_twice(client):
    label = mark(client, action="label", text="a").json()["labels"][0]["id"]
    second = mark(client, action="label", text="b").json()["labels"][0]["id"]
    assert mark(client, action="pin", label=label).json()["labels"][0]["id"] == label
    for _ in range(2):
        assert [one["id"] for one in mark(client, action="remove_label", label=label).json()["labels"]] == [second]
    note = mark(client, action="note", text="n").json()["notes"][0]["note"]
    for _ in range(2):
        assert mark(client, action="remove_note", note=note).json()["notes"] == []
    mark(client, action="tag", text="t")
    for _ in range(2):
        assert mark(client, action="untag", text="t").json()["tags"] == []


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"action": "label"},
        {"action": "label", "text": ""},
        {"action": "label", "text": "a\0b"},
        {"action": "tag", "text": "x" * 201},
        {"action": "shout", "text": "a"},
        {"action": "bookmark", "text": "a"},
        {"action": "pin", "label": -1},
    ],
)
def test_what_can_not_be_kept_is_refused(client, change):
    answer = mark(client, **change)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_there_must_be_such_a_feature(client):
    assert client.post("/d/demo/features/99/marks.json", json={"action": "bookmark"}).status_code == 404


def test_read_only_writes_nothing(own, world):
    client = client_of(own, world, read_only=True)
    assert mark(client, action="bookmark").status_code == 403
    assert client.post(f"{FEATURE}/ablation.json", json={}).status_code == 403
    page = client.get(FEATURE).text
    assert "data-mark" not in page
    assert "ablation.json" not in page
    assert list(own.rglob("*.sqlite*")) == []


def test_damaged_notes_leave_the_feature_readable(client, own):
    (own / "demo" / "index.notes.sqlite").write_bytes(b"no database at all" * 100)
    answer = client.get(FEATURE)
    assert answer.status_code == 200
    assert "can't be shown" in answer.text
    assert "Strongest firings" in answer.text


def test_an_ablation_is_what_the_function_says_and_is_kept(client, own, world):
    found = client.post(f"{FEATURE}/ablation.json", json={}).json()["effects"]
    index = FeatureIndex.open(own / "demo" / "index")
    rows = [example.row for example in examples_of(index.feature(4))]
    windows = windows_at(index.text.tokens_T, index.text.context_starts(), rows)
    expected = ablate(Model(world), Dictionary(), 4, windows, others=torch.tensor(index.live()))
    assert expected.at_focus
    assert found["at_focus"] == expected.at_focus.model_dump(mode="json")
    assert found["fired"] == expected.fired
    assert [one["kl"] for one in found["examples"]] == [one.at_focus.kl for one in expected.examples]
    assert client.get(f"{FEATURE}.json").json()["ablated"]["effects"] == found
    assert "this feature" in client.get(FEATURE).text


def test_a_dead_feature_has_nothing_to_ablate(client):
    assert client.post("/d/demo/features/0/ablation.json", json={}).json()["effects"]["fired"] == 0
