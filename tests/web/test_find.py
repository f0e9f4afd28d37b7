"""Finding by effect and by example. Oracles: the reader's own answers, which its tests check, and the world's truth."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

BASE = "http://127.0.0.1:8765"


@pytest.fixture
def client(app):
    return TestClient(app, base_url=BASE)


def test_what_promotes_a_text_is_what_the_reader_says(client, app):
    view = client.get("/d/demo/find.json", params={"promotes": "return"}).json()
    expected = app.state.library.dictionary("demo").reader.promotes("return", by="standardised", keep=40)
    assert view["problem"] is None
    assert [one["feature"] for one in view["promoters"]["features"]] == [one.feature for one in expected.features]
    assert set(view["features"]) == {str(one.feature) for one in expected.features}
    assert "Features that promote" in client.get("/d/demo/find", params={"promotes": "return"}).text


def test_the_feature_of_names_is_found_by_example(client):
    """In the world, feature 14 fires on Mary and John and on nothing else."""
    texts = {"wanted": "then John left\na Mary\nthen Mary left", "unwanted": "the bird sat\nhe sat\nthen she left"}
    view = client.get("/d/demo/find.json", params=texts).json()
    assert view["problem"] is None
    found = {one["feature"]: one for one in view["by_example"]["features"]}
    assert found[14]["auroc"] == 1
    assert (found[14]["fires_wanted"], found[14]["fires_unwanted"]) == (3, 0)
    assert "3 of 3" in client.get("/d/demo/find", params=texts).text


@pytest.mark.parametrize(
    "asked", [{"wanted": "Mary"}, {"promotes": "\ud7ff\U0010ffff"}, {"promotes": "\0"}, {"wanted": "\0\n\x85"}]
)
def test_what_can_not_be_answered_is_said(client, asked):
    answer = client.get("/d/demo/find", params=asked)
    assert answer.status_code == 200


def test_nothing_asked_is_a_page_of_two_forms(client):
    view = client.get("/d/demo/find.json").json()
    assert (view["promoters"], view["by_example"], view["problem"]) == (None, None, None)
    assert client.get("/d/demo/find").text.count("<form") == 2
