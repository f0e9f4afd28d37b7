"""Home: what lies in a folder, and where the boxes of its lineage go.

Oracles: folders made by hand, of which it is known what is wrong with them; the geometry of the drawn boxes and curves;
the page as a parser sees it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import socket
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.web.app import create_app
from lexiscope.web.folder.kin import Group, Link, Node
from lexiscope.web.folder.lineage import HEIGHT, WIDTH, cut, draw
from lexiscope.web.folder.survey import look
from lexiscope.web.pages.home import HomeView

BASE = "http://127.0.0.1:8765"
SOURCES = {"model": {"name": "small", "fingerprint": "m"}, "corpus": {"source": "books", "fingerprint": "c"}}
FILES = {"store": "statistics.safetensors", "sae": "sae.safetensors", "scorecard": "scorecard.json"}


def make(path, kind, made_from=(), *, seed=0, sources=None):
    config = {"sae": {"architecture": "topk"}, "num_latents": 8, "seed": seed}
    with write_artifact(path, kind, config=config, made_from=made_from, sources=sources or SOURCES) as draft:
        (draft.path / FILES[kind]).write_bytes(bytes([seed]))
    return open_artifact(path, kind)


def home(root) -> HomeView:
    return HomeView.model_validate(TestClient(create_app(root), base_url=BASE).get("/.json").json())


@pytest.fixture
def run(tmp_path):
    store = make(tmp_path / "one" / "store", "store")
    sae = make(tmp_path / "one" / "sae", "sae", [store])
    make(tmp_path / "one" / "scorecard", "scorecard", [store, sae])
    return tmp_path


def by_name(group: Group) -> dict[str, Node]:
    return {f"{node.kind} {node.name}": node for node in group.nodes}


def test_links_lead_from_text_and_model_to_what_was_made_last(run):
    [group] = home(run).groups
    names = {node.key: node.kind for node in group.nodes}
    assert {(names[link.source], names[link.target]) for link in group.links} == {
        ("corpus", "store"),
        ("model", "store"),
        ("store", "sae"),
        ("sae", "scorecard"),  # and not the store again, which the SAE was made from
    }
    assert all(node.remarks == [] and node.moved == [] for node in group.nodes)


def test_a_run_that_moved_is_found_and_said(run):
    shutil.move(run / "one", run / "two")
    [group] = home(run).groups
    assert group.name == "two"
    assert by_name(group)["sae sae"].moved == [f"Its store was at {run}/one/store then."]
    assert all(node.remarks == [] for node in group.nodes)


def test_a_source_that_is_gone_is_drawn_and_said(run):
    shutil.rmtree(run / "one" / "store")
    [group] = home(run).groups
    ghost, sae = by_name(group)["store store"], by_name(group)["sae sae"]
    assert (ghost.state, ghost.path) == ("missing", None)
    assert "not under this folder" in sae.remarks[0]
    assert Link(source=ghost.key, target=sae.key) in group.links


def test_another_source_in_its_place_is_said(run):
    shutil.rmtree(run / "one" / "store")
    make(run / "one" / "store", "store", seed=1)
    [group] = home(run).groups
    assert "the one at one/store is another" in by_name(group)["sae sae"].remarks[0]


@pytest.mark.parametrize("spoil", ["gone", "manifest", "version"])
def test_what_is_damaged_stays_in_sight(run, spoil):
    folder = run / "one" / "sae"
    if spoil == "gone":
        (folder / "sae.safetensors").unlink()
    elif spoil == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        text = (folder / "manifest.json").read_text().replace('"format_version": 1', '"format_version": 7')
        (folder / "manifest.json").write_text(text)
    [group] = home(run).groups
    node = by_name(group)["sae sae"]
    assert node.kind == "sae"
    assert node.state == "damaged"
    assert node.remarks
    page = TestClient(create_app(run), base_url=BASE).get("/").text
    assert "to look at" in page


def test_interrupted_work_says_how_far_it_got(run):
    for name in ("0000000030", "0000001200"):
        (run / "one" / ".tuned.work" / "checkpoints" / name).mkdir(parents=True)
    (run / "one" / ".next.work").mkdir()
    lock = run / "one" / ".next.work" / "lock"
    lock.write_text(json.dumps([os.getpid(), socket.gethostname()]))
    running, stopped = home(run).unfinished
    assert (running.path, running.step, running.running) == ("one/next", None, True)
    assert (stopped.path, stopped.step, stopped.running) == ("one/tuned", 1200, False)
    page = TestClient(create_app(run), base_url=BASE).get("/").text
    assert "stopped at step 1,200; the same command goes on" in page
    lock.write_text(json.dumps([os.getpid(), "another machine"]))
    assert not home(run).unfinished[0].running


def test_looking_changes_nothing(run):
    (run / "one" / ".next.work").mkdir()
    before = sorted((str(path), path.stat().st_mtime_ns) for path in run.rglob("*"))
    home(run)
    assert sorted((str(path), path.stat().st_mtime_ns) for path in run.rglob("*")) == before


def test_what_links_lead_to_is_not_looked_at(run, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(run / "one", elsewhere / "one")
    (run / "link").symlink_to(elsewhere / "one")
    assert all(one.path.is_relative_to(run / "one") for one in look(run).found)


def node(kind: str, name: str) -> Node:
    return Node(
        key=f"{kind} {name}",
        kind=kind,
        name=name,
        detail="",
        path=name,
        fingerprint="f",
        made="",
        num_bytes=1,
        state="whole",
        remarks=[],
        moved=[],
    )


def forest(seed: int) -> Group:
    """One text and one model, a few stores, dictionaries of each, some of them trained further."""
    chance = random.Random(seed)
    nodes, links = [node("corpus", "text"), node("model", "lm")], []

    def add(kind: str, name: str, *sources: Node) -> Node:
        nodes.append(made := node(kind, name))
        links.extend(Link(source=source.key, target=made.key) for source in sources)
        return made

    for number in range(chance.randint(1, 4)):
        store = add("store", f"{number}", *nodes[:2])
        for place in range(chance.randint(0, 6)):
            sae = add("sae", f"{number}.{place}", store)
            if chance.random() < 0.3:
                tuned = add("sae", f"{number}.{place} tuned", sae)
                add("index", f"{number}.{place} tuned", tuned)
            for kind in chance.sample(["index", "scorecard"], chance.randint(0, 2)):
                add(kind, f"{number}.{place}", sae)
    shuffled = nodes[2:]
    chance.shuffle(shuffled)
    return Group(name="run", nodes=[*nodes[:2], *shuffled], links=links)


@pytest.mark.parametrize("seed", range(20))
def test_no_boxes_overlap_and_links_of_the_forest_never_cross(seed):
    group = forest(seed)
    drawing = draw(group)
    boxes = [(box.x, box.y) for box in drawing.boxes]
    for (x, y), (other_x, other_y) in itertools.combinations(boxes, 2):
        assert abs(x - other_x) >= WIDTH or abs(y - other_y) >= HEIGHT
    for x, y in boxes:
        assert 0 <= x <= drawing.width - WIDTH
        assert 0 <= y <= drawing.height - HEIGHT
    places = {box.node.key: (box.x, box.y) for box in drawing.boxes}
    spans = []
    for link, curve in zip(group.links, drawing.curves, strict=True):
        start_x, start_y, *_, end_x = map(float, re.findall(r"[\d.]+", curve))
        assert (start_x, start_y) == (places[link.source][0] + WIDTH, places[link.source][1] + HEIGHT / 2)
        assert end_x == places[link.target][0] > start_x
        if not link.source.startswith(("corpus", "model")):
            spans.append((start_x, start_y, places[link.target][1]))
    for (x, y, target), (other_x, other_y, other_target) in itertools.combinations(spans, 2):
        # Two curves in the same gap cross if their order at its beginning is not that at its end.
        assert x != other_x or (y - other_y) * (target - other_target) >= 0


def test_a_source_stands_in_the_middle_of_what_was_made_from_it():
    group = forest(3)
    places = {box.node.key: box.y for box in draw(group).boxes}
    for key in {link.source for link in group.links if link.source.startswith(("store", "sae"))}:
        below = [places[link.target] for link in group.links if link.source == key]
        assert places[key] == pytest.approx((min(below) + max(below)) / 2, abs=0.1)


def test_manifests_that_name_one_another_are_drawn_all_the_same():
    """No honest manifest does: a fingerprint can't be in what it is the fingerprint of."""
    one, other = node("sae", "one"), node("sae", "other")
    links = [Link(source=one.key, target=other.key), Link(source=other.key, target=one.key)]
    drawing = draw(Group(name="run", nodes=[one, other], links=links))
    assert len({(box.x, box.y) for box in drawing.boxes}) == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [("short", "short"), ("x" * 20, "xxxxx…xxxx"), ("雪" * 20, "雪雪…雪雪"), ("a\u202eb", "a\\u202eb"), ("", "")],
)
def test_names_are_cut_to_fit(text, shown):
    assert cut(text, 10) == shown


def test_hundreds_of_artifacts_are_grouped_and_one_group_is_open(tmp_path):
    for number in range(40):
        run = tmp_path / f"run{number:02d}"
        store = make(run / "store", "store", seed=number)
        for place in range(4):
            make(run / f"sae{place}", "sae", [store], seed=place)
    client = TestClient(create_app(tmp_path), base_url=BASE)
    page = client.get("/").text
    assert page.count("<details") == 40
    assert len(re.findall("<details[^>]* open", page)) == 1
    assert "no index of a dictionary yet" in page


def test_hostile_names_stay_text(tmp_path):
    sources = {"model": {"name": "<img src=x onerror=alert(1)>", "fingerprint": "m"}, "corpus": {"source": "'\"><b>"}}
    make(tmp_path / "<b onclick=alert(1)>" / "sae", "sae", sources=sources)
    found = []

    class Elements(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    Elements().feed(TestClient(create_app(tmp_path), base_url=BASE).get("/").text)
    assert not [tag for tag, _ in found if tag == "img"]
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert all("onclick" not in attributes.get("href", "") for _, attributes in found)
