"""Lists, facets, the map and the plot of dictionaries. Oracles: the whole list filtered by hand, an exact SVD."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from starlette.testclient import TestClient

from lexiscope.web.app import create_app
from lexiscope.web.atlas import project
from lexiscope.web.drawing.plots import scatter

BASE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def client(root, tmp_path_factory):
    own = shutil.copytree(root, tmp_path_factory.mktemp("lists") / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))
    client = TestClient(create_app(own), base_url=BASE)
    for feature, text in ((4, "opening parenthesis"), (13, "comma in a row")):
        client.post(f"/d/demo/features/{feature}/marks.json", json={"action": "label", "text": text})
    client.post("/d/demo/features/4/marks.json", json={"action": "tag", "text": "marks"})
    client.post("/d/demo/features/9/marks.json", json={"action": "bookmark"})
    client.post("/d/demo/features/9/marks.json", json={"action": "note", "text": "snake case"})
    return client


def listed(client, **asked):
    return client.get("/d/demo.json", params={"limit": 200, **asked}).json()["page"]["features"]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"density_from": 0.05}, lambda row: row["density"] >= 0.05),
        ({"variety_to": 3, "dead": "false"}, lambda row: row["variety"] <= 3 and not row["dead"]),
        (
            {"max_activation_from": 4, "documents_from": 2},
            lambda row: row["max_activation"] >= 4 and row["documents"] >= 2,
        ),
        ({"dead": "true"}, lambda row: row["dead"]),
    ],
)
def test_facets_keep_what_meets_them(client, asked, wanted):
    expected = {row["feature"] for row in listed(client) if wanted(row)}
    assert expected
    assert {row["feature"] for row in listed(client, **asked)} == expected


@pytest.mark.parametrize(
    ("asked", "features"),
    [
        ({"marked": "labelled"}, {4, 13}),
        ({"marked": "bookmarked"}, {9}),
        ({"tag": "marks"}, {4}),
        ({"tag": "marks", "marked": "bookmarked"}, set()),
        ({"look": "labels", "search": "parenth"}, {4}),
        ({"look": "notes", "search": "snake"}, {9}),
        ({"look": "tags", "search": "marks"}, {4}),
        ({"look": "labels", "search": "nothing like it"}, set()),
    ],
)
def test_what_people_wrote_is_found(client, asked, features):
    assert {row["feature"] for row in listed(client, **asked)} == features


def test_labels_stand_in_the_list(client):
    assert client.get("/d/demo.json", params={"marked": "labelled"}).json()["labels"] == {
        "4": "opening parenthesis",
        "13": "comma in a row",
    }
    assert "opening parenthesis" in client.get("/d/demo", params={"marked": "labelled"}).text


def test_links_of_a_narrowed_list_stay_narrow(client):
    page = client.get("/d/demo", params={"density_from": "0.001", "limit": 5}).text
    assert "density_from=0.001" in page.split('rel="next"')[1].split(">")[0]


def test_a_map_without_an_sae_says_why(client):
    view = client.get("/d/demo/map.json").json()
    assert view["points"] == []
    assert view["problem"]
    assert "There is no map" in client.get("/d/demo/map").text


def test_the_plane_is_that_of_an_exact_svd():
    x_ND = np.random.default_rng(1).standard_normal((200, 24)).astype(np.float32) * np.linspace(
        3, 0.2, 24, dtype=np.float32
    )
    found_N2, held = project(x_ND)
    unit_ND = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
    centred_ND = unit_ND - unit_ND.mean(0)
    left_NC, sizes_C, _ = np.linalg.svd(centred_ND, full_matrices=False)
    exact_N2 = (left_NC * sizes_C)[:, :2]
    for axis in range(2):
        assert abs(np.corrcoef(found_N2[:, axis], exact_N2[:, axis])[0, 1]) > 0.999
    assert held == pytest.approx((sizes_C[:2] ** 2).sum() / (sizes_C**2).sum(), rel=1e-3)
    assert np.array_equal(found_N2, project(x_ND)[0])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_features_have_places_too(count):
    assert project(np.eye(4, dtype=np.float32)[:count])[0].shape == (count, 2)


def test_a_scatter_is_logarithmic_across_and_linear_upwards():
    plot = scatter(
        [(1, 0, "a", "", ""), (10, 1, "a", "", ""), (100, 2, "a", "", "")], width=400, x_label="x", y_label="y"
    )
    assert plot.dots[1].x - plot.dots[0].x == pytest.approx(plot.dots[2].x - plot.dots[1].x, abs=0.02)
    assert (plot.dots[0].y, plot.dots[2].y) == (plot.bottom, plot.top)
    assert [tick.label for tick in plot.x_ticks] == ["1", "10", "100"]


def test_this_sae_stands_beside_trivial_dictionaries(client):
    kinds = {trade["name"]: trade["kind"] for trade in client.get("/d/demo.json").json()["trades"]}
    assert kinds == {"this SAE": "own", "pca": "trivial", "random_dictionary": "trivial", "untrained": "trivial"}
