"""Oracle: the index itself (its own tests check it against the codes), and the HTML parsed by the standard library."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from lexiscope.core.errors import InputError
from lexiscope.index.feature import Feature, Neighbour
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.web.app import create_app
from lexiscope.web.pages import pages
from lexiscope.web.pages.feature import _duplicates

BASE = "http://127.0.0.1:8765"
PAGES = ["/", "/d/demo", "/d/demo/features/3", "/d/demo/features/0", "/d/demo/text", "/d/demo/map", "/d/demo/find"]


@pytest.fixture
def client(app):
    return TestClient(app, base_url=BASE)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("path", PAGES)
def test_every_page_and_its_twin_answer(client, path):
    html = client.get(path)
    assert html.status_code == 200
    assert html.headers["content-type"].startswith("text/html")
    assert f'href="{path}.json' in html.text
    twin = client.get(f"{path}.json")
    assert twin.status_code == 200
    assert twin.json()


def test_these_pages_are_there():
    assert {page.__name__.rsplit(".", 1)[1] for page in pages()} >= {"home", "dictionary", "map", "feature", "text"}


def test_the_feature_twin_is_what_the_index_says(client, root):
    index = FeatureIndex.open(root / "demo" / "index")
    twin = client.get("/d/demo/features/3.json").json()
    assert Feature.model_validate(twin["feature"]) == index.feature(3)
    assert (twin["previous"], twin["next"]) == (2, 4)
    assert client.get("/d/demo/features/1.json").json()["previous"] is None  # feature 0 never fires


def test_the_dictionary_page_shows_scores_beside_null_columns(client):
    page = Elements(client.get("/d/demo").text)
    assert "18 % of the variance" in page.text
    assert "4.3 % of the loss" in page.text
    for column in ("This SAE", "Mean only", "Random dictionary", "Untrained SAE", "PCA", "Neurons"):
        assert column in page.text


@pytest.mark.parametrize("path", ["/d/demo", "/d/demo/features/3", "/d/demo/features/0", "/d/demo/text"])
def test_what_is_left_unexplained_is_said_wherever_features_are_shown(client, path):
    """The scorecard says: FVU 0.182, loss recovered 0.957."""
    page = Elements(client.get(path).text)
    assert "18 % of the variance" in page.text
    assert "4.3 % of the loss" in page.text


@pytest.mark.parametrize("path", ["/d/demo/features/3", "/d/demo/text"])
def test_twins_say_what_is_left_unexplained(client, path):
    fidelity = client.get(f"{path}.json").json()["fidelity"]
    assert fidelity == {"variance_unexplained": 0.182, "loss_unexplained": pytest.approx(0.043)}


@pytest.mark.parametrize("path", ["/d/index", "/d/index/features/3", "/d/index/text"])
def test_without_a_scorecard_every_page_says_so(root, path):
    page = TestClient(create_app(root / "demo" / "index"), base_url=BASE).get(path)
    assert "Nobody has measured" in page.text


def test_a_matched_concept_is_on_the_feature_page(client):
    assert "tells def head with F1 0.98" in Elements(client.get("/d/demo/features/2").text).text


@pytest.mark.parametrize("sort", ["feature", "density", "max_activation", "mean_activation", "variety"])
def test_sorting_and_paging_are_in_the_address(client, root, sort):
    index = FeatureIndex.open(root / "demo" / "index")
    answer = client.get("/d/demo.json", params={"sort": sort, "descending": "false", "limit": 5, "offset": 3}).json()
    assert [feature["feature"] for feature in answer["page"]["features"]] == [
        feature.feature for feature in index.features(sort, descending=False, limit=5, offset=3).features
    ]


def test_links_of_the_list_lead_on(client):
    """Following "next" from page to page visits every feature once."""
    path, seen = "/d/demo?limit=10", []
    while path:
        page = Elements(client.get(path).text)
        links = [attributes for tag, attributes in page.elements if tag == "a"]
        seen += [link["href"] for link in links if "/features/" in str(link["href"])]
        path = next((link["href"].split("#")[0] for link in links if link.get("rel") == "next"), None)
    assert sorted(seen) == sorted(f"/d/demo/features/{number}" for number in range(42))


@pytest.mark.parametrize("path", [*PAGES, "/d/demo/features/15", "/d/demo?search=%3Cscript%3E", "/d/%3Cscript%3E"])
def test_hostile_tokens_stay_text(client, path):
    """Feature 15 fires on markup; a document is called like an attack. No element or attribute may come of it."""
    page = Elements(client.get(path).text)
    assert not [tag for tag, _ in page.elements if tag in {"img", "style"}]
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert all(script["src"].startswith("/static/") for script in scripts)
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            assert str(attributes.get(name) or "/").startswith(("/", "#"))
    for hidden in ("\u202e", "\u200b", "\x00"):
        assert hidden not in client.get(path).text


def test_what_is_invisible_is_drawn(client):
    page = Elements(client.get("/d/demo/features/15").text)
    assert "<script>" in page.text
    assert "⟨U+202E⟩" in page.text
    assert "⟨U+200B⟩" in page.text


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/d/demo/features/99", 404, "features 0 to 41"),
        ("/d/demo/features/99999999999999999999", 404, "features 0 to 41"),
        ("/d/nowhere", 404, "no dictionary 'nowhere'"),
        ("/d/demo?sort=colour", 422, "sort"),
        ("/d/demo?limit=0", 422, "limit"),
        ("/d/demo?offset=-1", 422, "offset"),
        ("/d/demo?search=" + "x" * 101, 422, "search"),
        ("/somewhere", 404, "no page"),
        ("/static/../app.py", 404, ""),
        ("/static/%2e%2e/app.py", 404, ""),
    ],
)
def test_errors_say_what_is_wrong(client, path, status, sentence):
    html = client.get(path)
    assert html.status_code == status
    assert sentence.lower() in Elements(html.text).text.lower()
    base, _, query = path.partition("?")
    twin = client.get(f"{base}.json?{query}")
    assert twin.status_code == status
    assert sentence in twin.json()["error"]


def test_an_empty_folder_tells_how_to_begin(tmp_path):
    page = TestClient(create_app(tmp_path), base_url=BASE).get("/")
    assert page.status_code == 200
    assert "lexiscope demo" in page.text


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        create_app(tmp_path / "nothing")


def test_a_random_feature_is_a_live_one(client):
    for _ in range(20):
        answer = client.get("/d/demo/random", follow_redirects=False)
        assert answer.status_code == 303
        assert client.get(f"{answer.headers['location']}.json").json()["feature"]["firings"] > 0


def test_typed_text_gives_the_codes_of_its_tokens(client):
    """In the world, feature 2 is "def" with 6.0, which is also its largest activation."""
    answer = client.post("/d/demo/text.json", json={"text": "def f(x):\n"}).json()
    assert "".join(token["piece"] for token in answer["tokens"]).startswith("def")
    [firing] = [firing for firing in answer["tokens"][0]["firings"] if firing["feature"] == 2]
    assert (firing["activation"], firing["relative"]) == (6.0, 1.0)
    assert next(entry["tokens"] for entry in answer["features"] if entry["feature"] == 2) == 1
    assert answer["left_out"] == 0


def test_typed_text_ranks_what_is_rare_before_what_is_always_on(client):
    answer = client.post("/d/demo/text.json", json={"text": " Mary"}).json()
    assert [firing["feature"] for firing in answer["tokens"][0]["firings"]] == [14, 7, 1]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"text": ""}, 422, "nothing to read"),
        ({"text": "x" * 4001}, 422, "4000"),
        ({"text": 5}, 422, "text"),
        ({}, 422, "text"),
        ([1], 422, ""),
    ],
)
def test_bad_text_is_refused_in_a_sentence(client, body, status, sentence):
    answer = client.post("/d/demo/text.json", json=body)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


def test_long_text_is_cut_and_said(client):
    answer = client.post("/d/demo/text.json", json={"text": "a b " * 200}).json()
    assert len(answer["tokens"]) == 256
    assert answer["left_out"] > 0


def test_a_missing_sae_is_told_and_not_a_crash(root):
    client = TestClient(create_app(root / "demo" / "index"), base_url=BASE)
    assert client.get("/").status_code == 200
    answer = client.post("/d/index/text.json", json={"text": "a"})
    assert answer.status_code == 422
    assert "SAE" in answer.json()["error"]


@pytest.mark.parametrize("path", PAGES)
def test_twins_are_plain_json(client, path):
    json.loads(client.get(f"{path}.json").text, parse_constant=lambda name: pytest.fail(f"it holds {name}"))


def test_a_neighbour_that_never_fires_either_is_no_duplicate(root):
    """No honest index names one; a stranger's may."""
    index = FeatureIndex.open(root / "demo" / "index")
    dead = index.feature(0)
    assert dead.dead
    twin = Neighbour(feature=0, cosine=1.0, tokens=[])
    assert _duplicates(index, dead.model_copy(update={"neighbours": [twin]})) == []
