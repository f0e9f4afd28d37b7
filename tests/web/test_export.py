"""Features as a file, and in a notebook. Oracles: the text of the world's hostile tokens, an HTML parser, the index."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from lexiscope.core.errors import InputError
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.web.app import create_app
from lexiscope.web.exports.display import show
from lexiscope.web.exports.html import MOST, write_features

BASE = "http://127.0.0.1:8765"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def client(root):
    return TestClient(create_app(root), base_url=BASE)


def alone(page: str) -> Elements:
    """The page, if it loads and runs nothing."""
    found = Elements(page)
    assert not {tag for tag, _ in found.elements} & {"script", "img", "link", "iframe", "object", "form", "base"}
    for _, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "style", "href"}]
    assert "default-src 'none'" in page
    assert "\u202e" not in page
    return found


def test_one_feature_is_a_file_to_keep(client, root):
    answer = client.get("/d/demo/features/3/export.html")
    assert answer.headers["content-disposition"] == 'attachment; filename="demo-3.html"'
    found = alone(answer.text)
    assert "Feature 3" in found.text
    assert "18 % of the variance" in " ".join(found.text.split())
    feature = FeatureIndex.open(root / "demo" / "index").feature(3)
    assert len([tag for tag, attributes in found.elements if attributes.get("class") == "example"]) == sum(
        map(len, (feature.strongest, feature.weakest, *(band.examples for band in feature.bands)))
    )


def test_hostile_tokens_stay_text_in_a_file(client):
    found = alone(client.get("/d/demo/features/15/export.html").text)
    assert "<script>" in found.text


def test_several_features_are_one_file_each_once(client):
    found = alone(client.get("/d/demo/export.html?features=3,0,7,3").text)
    assert re.findall(r"Feature (\d+)", found.text) == ["3", "0", "7"]
    assert "fired on none" in found.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/d/demo/features/99/export.html", 404),
        ("/d/nowhere/features/1/export.html", 404),
        ("/d/demo/export.html", 422),
        ("/d/demo/export.html?features=", 422),
        ("/d/demo/export.html?features=1,x", 422),
        ("/d/demo/export.html?features=1,99", 404),
        ("/d/demo/export.html?features=" + ",".join(["1"] * (MOST + 1)), 422),
    ],
)
def test_what_can_not_be_kept_is_said(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    assert "content-disposition" not in answer.headers


def test_the_same_from_python(root, tmp_path, client):
    out = write_features(root / "demo", [3, 7], tmp_path / "kept.html")
    assert alone(out.read_text()).text == Elements(client.get("/d/demo/export.html?features=3,7").text).text
    with pytest.raises(InputError, match="no feature 99"):
        write_features(root / "demo", [99], out)
    with pytest.raises(InputError, match="from 1 to"):
        write_features(root / "demo", [], out)


def test_a_notebook_shows_it_in_a_frame_that_may_do_nothing(root):
    index = FeatureIndex.open(root / "demo" / "index")
    shown = show(index, 15)
    assert repr(shown) == "Shown(features=(15,), height=640)"
    [(tag, attributes)] = Elements(shown._repr_html_()).elements
    assert tag == "iframe"
    assert attributes["sandbox"] == ""
    inside = alone(attributes["srcdoc"])
    assert "Feature 15" in inside.text
    assert "18 % of the variance" in " ".join(inside.text.split())
    with pytest.raises(InputError, match="no feature 99"):
        show(index, [3, 99])
