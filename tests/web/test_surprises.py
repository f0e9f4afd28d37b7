"""What is surfaced: clusters, outliers, and the map coloured by any facet. Oracles: a planted family of directions, the
list of features by hand, and the pixels that Chromium draws.
"""

from __future__ import annotations

import csv
import io
import re

import pytest
import torch
from fastapi.testclient import TestClient

from lexiscope.core.artifact import open_artifact
from lexiscope.index.build import build_index
from lexiscope.index.directions.chance import closest_pair_by_chance
from lexiscope.saes import topk
from lexiscope.saes.parts import random_directions
from lexiscope.web.app import create_app

from .conftest import BASE, PORT, worlds
from .serving import running
from .watching import fits, watch

FAMILY, PAIR = [3, 8, 9, 14, 15], [20, 21]
"""Features with close directions; their cosines are about 0.98 and 0.94."""


@pytest.fixture(scope="module")
def planted(world, tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    own = worlds.Dictionary()
    own.directions_FD = random_directions(worlds.NUM_LATENTS, worlds.MODEL_WIDTH, seed=1)
    for seed, (members, noise) in enumerate(((FAMILY, 0.15), (PAIR, 0.25))):
        centre_D = random_directions(2, worlds.MODEL_WIDTH, seed=50)[seed]
        own.directions_FD[members] = centre_D + noise * random_directions(
            len(members), worlds.MODEL_WIDTH, seed=60 + seed
        )
    sae = topk.TopK(topk.Config(num_latents=worlds.NUM_LATENTS, k=4), worlds.NUM_LATENTS, worlds.MODEL_WIDTH)
    with torch.no_grad():
        sae.W_dec_FD.copy_(own.directions_FD)
    sae.reads, sae.writes = (worlds.HOOK,), (worlds.WRITTEN,)
    sae.save(root / "own" / "sae")
    own.artifact = open_artifact(root / "own" / "sae", "sae")
    build_index(own, worlds.Model(world), worlds.Store(world, root / "own" / "store"), out=root / "own" / "index")
    client = TestClient(create_app(root, port=PORT), base_url=BASE)
    for feature, text in ((3, "first"), (20, "other </script>")):
        client.post(f"/d/own/features/{feature}/marks.json", json={"action": "label", "text": text})
    for feature in (3, 8, 30):
        client.post(f"/d/own/features/{feature}/marks.json", json={"action": "tag", "text": "kept"})
    return root


@pytest.fixture
def client(planted):
    return TestClient(create_app(planted, port=PORT), base_url=BASE)


def test_planted_families_are_listed_with_what_they_share(client):
    view = client.get("/d/own/clusters.json").json()
    assert [(one["first"], one["size"]) for one in view["clusters"]] == [(3, 5), (20, 2)]
    assert (view["matching"], view["features"]) == (2, 7)
    assert view["bar"] == view["chance"] == pytest.approx(closest_pair_by_chance(view["live"], 16), rel=1e-5)
    family = view["clusters"][0]
    assert {one["feature"] for one in family["members"]} == set(FAMILY)
    firings = [one["firings"] for one in family["members"]]
    assert firings == sorted(firings, reverse=True)
    for token in family["tokens"]:
        assert sum(token in one["tokens"] for one in family["members"]) > 1
    assert view["labels"] == {"3": "first", "20": "other </script>"}
    closest = client.get("/d/own/clusters.json", params={"sort": "weakest_link", "limit": 1, "offset": 1}).json()
    assert [one["first"] for one in closest["clusters"]] == [20]
    rows = list(csv.DictReader(io.StringIO(client.get("/d/own/clusters.csv").text)))
    assert [row["first"] for row in rows] == ["3", "20"]
    page = client.get("/d/own/clusters").text
    assert "cluster=3#features" in page
    assert "</script> " not in page.split("<main")[1]
    assert "no clusters this far down" in client.get("/d/own/clusters", params={"offset": 9}).text


def numbers(client, **asked):
    answer = client.get("/d/own.json", params={"limit": 200, **asked})
    assert answer.status_code == 200
    return [row["feature"] for row in answer.json()["page"]["features"]]


def test_a_cluster_is_a_facet(client):
    for member in FAMILY:
        assert sorted(numbers(client, cluster=member)) == FAMILY
    assert numbers(client, cluster=30) == [30]
    assert sorted(numbers(client, cluster=3, tag="kept")) == [3, 8]
    assert client.get("/d/own.json", params={"cluster": 4000}).status_code == 404
    page = client.get("/d/own", params={"cluster": 3, "limit": 2}).text
    assert "cluster=3" in page.split('rel="next"')[1].split(">")[0]


def test_outliers_come_with_the_number_that_makes_them_so(client):
    view = client.get("/d/own.json", params={"sort": "unusual", "limit": 200, "dead": False}).json()
    far = [view["oddities"][str(row["feature"])]["unusual"] for row in view["page"]["features"]]
    assert far == sorted(far, reverse=True)
    assert numbers(client, unusual_from=far[2], dead=False) == pytest.approx(
        sorted(numbers(client, sort="unusual", dead=False)[:3], key=numbers(client).index)
    )
    close = numbers(client, nearest_cosine_from=0.85)
    assert set(FAMILY + PAIR) <= set(close)
    alone = client.get("/d/own.json", params={"sort": "nearest_cosine", "descending": False, "dead": False}).json()
    cosines = [alone["oddities"][str(row["feature"])]["nearest_cosine"] for row in alone["page"]["features"]]
    assert cosines == sorted(cosines)
    assert "robust standard deviations" in client.get("/d/own", params={"sort": "unusual"}).text
    assert client.get("/d/own.json", params={"nearest_cosine_from": 1.5}).status_code == 422
    rows = list(csv.DictReader(io.StringIO(client.get("/d/own.csv").text)))
    assert {"unusual", "trait", "nearest_cosine"} <= set(rows[0])


def test_points_of_the_map_know_their_facets(client):
    view = client.get("/d/own/map.json", params={"coloured_by": "cluster"}).json()
    assert (view["coloured_by"], view["clustered"], view["problem"]) == ("cluster", True, None)
    points = {point["feature"]: point for point in view["points"]}
    assert {number for number, point in points.items() if point["cluster"] == 3} == set(FAMILY)
    assert {number for number, point in points.items() if point["cluster"] is not None} == set(FAMILY + PAIR)
    assert {number: point["label"] for number, point in points.items() if point["label"]} == {
        3: "first",
        20: "other </script>",
    }
    assert {number for number, point in points.items() if point["tags"]} == {3, 8, 30}
    for number in (2, 14, 30):
        shares = {
            kind["kind"]: kind["share"]
            for kind in client.get(f"/d/own/features/{number}.json").json()["feature"]["kinds"]
        }
        most = max(shares, key=shares.get)
        assert points[number]["kind"] == (most if shares[most] >= 0.5 else None)
        [listed] = client.get("/d/own.json", params={"search": f"#{number}"}).json()["oddities"].values()
        assert (points[number]["unusual"], points[number]["nearest_cosine"]) == (
            listed["unusual"],
            listed["nearest_cosine"],
        )
        assert numbers(client, token_class=points[number]["token_class"], search=f"#{number}") == [number]


def test_many_clusters_wait_until_they_are_asked_for(client, monkeypatch):
    monkeypatch.setattr("lexiscope.web.pages.map._CLUSTERED_AT_ONCE", 10)
    assert client.get("/d/own/map.json").json()["clustered"] is False
    assert client.get("/d/own/map.json", params={"coloured_by": "cluster"}).json()["clustered"] is True


COLOURS = """canvas => {
  const pen = canvas.getContext("2d");
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  const found = {};
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 150) {
    const key = [data[at], data[at + 1], data[at + 2]].map((part) => Math.round(part / 24)).join();
    found[key] = (found[key] ?? 0) + 1;
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_facet_is_drawn_with_a_legend_and_told_on_hover(planted, browser, scheme):
    with running(planted) as port:
        context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        address = f"http://127.0.0.1:{port}"
        wrong = watch(page, address)
        page.goto(f"{address}/d/own/map?coloured_by=cluster")
        page.wait_for_selector(".legend .entry")
        entries = page.locator(".legend .entry").all_inner_texts()
        assert [re.sub(r"\s+", " ", entry) for entry in entries][:2] == ["cluster of 3 (5)", "cluster of 20 (2)"]
        blue, amber = "0,5,7", "10,7,0"  # of the first two groups, in steps of 24
        drawn = page.locator("figure.map > canvas").evaluate(COLOURS)
        assert drawn.get(blue, 0) > drawn.get(amber, 0) > 0
        seen = set()
        for colour in page.locator("figure.map select option").evaluate_all("all => all.map(one => one.value)"):
            page.locator("figure.map select").select_option(colour)
            page.wait_for_url(f"**coloured_by={colour}")
            assert page.locator(".legend .entry, .legend .scale").count() >= 1
            seen.add(page.locator("figure.map > canvas").screenshot())
        assert len(seen) > 8
        page.locator("figure.map select").select_option("density")
        view = page.request.get(f"{address}/d/own/map.json").json()
        point = next(one for one in view["points"] if one["feature"] == 30)
        xs, ys = ([one[axis] for one in view["points"]] for axis in "xy")
        box = page.locator("figure.map > canvas").bounding_box()
        across = 14 + (point["x"] - min(xs)) / (max(xs) - min(xs)) * (box["width"] - 28)
        down = box["height"] - 14 - (point["y"] - min(ys)) / (max(ys) - min(ys)) * (box["height"] - 28)
        page.mouse.move(box["x"] + across, box["y"] + down)
        said = page.locator("figure.map output").inner_text()
        assert said.startswith("Feature 30: ")
        assert "density" in said
        assert "%" in said
        assert fits(page)
        page.goto(f"{address}/d/own/map?coloured_by=cluster")
        page.locator(".legend .entry").first.click()
        page.wait_for_url("**cluster=3#features")
        assert page.locator(".list tbody tr").count() == len(FAMILY)
        assert wrong == []
        context.close()
