"""Edits that lie in the folder: listed, applied and kept by the page that steers. Oracles: `lexiscope.steer.edit` in
this process, and what a folder holds."""

from __future__ import annotations

import html
import re
import shutil
import tomllib
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.steer.edit import Edit, Report, save_edit
from lexiscope.steer.interventions import Ablate, Add, Cap, Clamp, Patch
from lexiscope.steer.recipe import Recipe
from lexiscope.web.app import create_app
from lexiscope.web.client import Client
from lexiscope.web.pages.steer import SteerView
from lexiscope.web.security.access import Access
from lexiscope.web.steering.kept import recipe_text

from .serving import running
from .steering_world import BASE, DEAD, PROMPT, give

KEEP = "/d/demo/edits.json"


@pytest.fixture
def own(real, tmp_path):
    """The run in a folder of its own, to be written into."""
    root = shutil.copytree(real.root, tmp_path / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))
    return SimpleNamespace(model=real.model, sae=real.sae, index=real.index, root=root)


def client_of(own, **access):
    app = create_app(own.root, access=Access.at(port=8765, **access))
    give(own)(app)
    return TestClient(app, base_url=BASE)


def save(own, path, *changes, error="keep", **report):
    recipe = Recipe(tuple(changes), error)
    return save_edit(own.root / path, recipe, own.model, own.sae, units=own.index, report=Report(**report))


def view(client, **asked):
    return SteerView.model_validate(client.get("/d/demo/steer.json", params=asked).json())


def new(client, **body):
    content = {"prompt": PROMPT, "tokens": 8, "temperature": 1.5, "seed": 2, **body}
    answer = client.post("/d/demo/steered.json", json=content).json()
    return [token["token"] for token in answer["steered"] if not token["prompt"]]


def applied(own, edit):
    """The new tokens of a model that the edit was applied to, by steer's own interface."""
    tokens = torch.tensor([[own.model.tokenizer.bos_id, *own.model.tokenizer.encode(PROMPT).ids]])
    with Edit.open(edit).apply(own.model, own.sae):
        return own.model.generate_tokens(tokens, max_new_tokens=8, temperature=1.5, seed=2)[0].tolist()


def test_an_edit_is_listed_and_set_as_turns_where_an_address_can_say_it(own):
    changes = (Clamp(features=[5, 6], to="2max", tokens="generated"), Cap(features=7, to=1.5, tokens="generated"))
    measured = {"kl": {"on ordinary text": 0.01, "worst": None}, "note": "<b>"}
    save(own, "demo/edits/kind", *changes, error="drop", purpose="be <i>kind</i>", author="ana", measured=measured)
    client = client_of(own)
    [kept] = view(client).kept
    assert (kept.name, kept.purpose, kept.author) == ("demo/edits/kind", "be <i>kind</i>", "ana")
    assert (kept.problem, kept.features) == (None, [5, 6, 7])
    assert [(line.name, line.value) for line in kept.measured] == [
        ("kl on ordinary text", "0.01"),
        ("kl worst", "null"),
        ("note", "<b>"),
    ]
    setting = kept.setting
    assert (setting.edit, setting.on, setting.error, len(setting.turn)) == ("", "generated", "drop", 3)
    assert Recipe.of(_toml(kept.recipe), "it") == Edit.open(own.root / "demo/edits/kind").recipe
    expected = applied(own, own.root / "demo/edits/kind")
    asked = {"turn": setting.turn, "on": setting.on, "error": setting.error}
    assert new(client, **asked) == expected
    assert new(client, edit="demo/edits/kind") == expected
    assert new(client) != expected
    page = client.get("/d/demo/steer").text
    assert "be &lt;i&gt;kind&lt;/i&gt;" in page
    [address] = re.findall(r'class="apply" href="([^"]+)"', page)
    found = SteerView.model_validate(client.get(html.unescape(address).replace("steer?", "steer.json?")).json())
    assert [one.written for one in found.turned] == setting.turn
    assert (found.on, found.error, found.edit) == ("generated", "drop", None)


def test_an_edit_that_an_address_can_not_say_is_applied_by_its_name(own):
    save(own, "demo/half", Ablate(features=[1, 2], share=0.5), Add(features=5, by=3.0, positions=[1]), error="drop")
    client = client_of(own)
    [kept] = view(client).kept
    assert (kept.setting.edit, kept.setting.turn) == ("demo/half", [])
    assert new(client, edit="demo/half") == applied(own, own.root / "demo/half")
    found = view(client, edit="demo/half", turn=["add:9:1max"])
    assert (found.edit.name, found.error) == ("demo/half", "drop")
    assert [edit["do"] for edit in _toml(found.recipe)["edit"]] == ["ablate", "add", "add"]
    assert "demo/half" in client.get("/d/demo/steer?edit=demo/half").text


def test_every_address_that_applies_an_edit_is_short_enough(own):
    """Oracle: the guard, which refuses long ones."""
    patches = [Patch(features=feature, source="é" * 90, from_position=-1) for feature in (1, 2, 4, 5, 6, 7)]
    save(own, "demo/long", *patches)
    save(own, "demo/short", *patches[:4])
    client = client_of(own)
    kept = {one.name: one.setting for one in view(client).kept}
    assert kept["demo/long"].edit == "demo/long"
    assert len(kept["demo/short"].turn) == 4
    for address in re.findall(r'class="apply" href="([^"]+)"', client.get("/d/demo/steer").text):
        assert client.get(f"{html.unescape(address)}&prompt={'a' * 1000}").status_code == 200


def test_edits_that_can_not_be_applied_say_why(own, tmp_path, monkeypatch):
    save(own, "demo/a", Ablate(features=1))
    for name in ("b", "c"):
        shutil.copytree(own.root / "demo" / "a", own.root / "demo" / name)
    with (own.root / "demo" / "b" / "edit.toml").open("a") as file:
        file.write("\n")
    (own.root / "demo" / "c" / "manifest.json").unlink()
    with write_artifact(tmp_path / "sae", "sae", config={"sae": {}}) as draft:
        (draft.path / "sae.safetensors").write_bytes(b"others")
    with monkeypatch.context() as patched:
        patched.setattr(own.sae, "artifact", open_artifact(tmp_path / "sae", "sae"))
        save_edit(own.root / "demo" / "d", Recipe((Ablate(features=1),)), own.model, own.sae)
    client = client_of(own)
    kept = {one.name: one.problem for one in view(client).kept}
    assert list(kept) == ["demo/a", "demo/b", "demo/c", "demo/d"]
    assert kept["demo/a"] is None
    for name, said in (
        ("demo/b", "truncated or changed"),
        ("demo/c", "can't be read"),
        ("demo/d", "another dictionary"),
    ):
        assert said in kept[name]
        assert str(own.root) not in kept[name]
        assert said in html.unescape(client.get(f"/d/demo/steer?edit={name}").text)
        answer = client.post("/d/demo/steered.json", json={"prompt": PROMPT, "edit": name})
        assert (answer.status_code, said in answer.json()["error"]) == (422, True)
        assert view(client, edit=name).edit is None
    assert "no edit" in view(client, edit="demo/../../x").problems[0]


@given(source=st.text(st.characters(codec="utf-8"), min_size=1, max_size=50))
def test_a_recipe_that_is_shown_hides_nothing_and_is_read_as_it_is(source):
    recipe = Recipe((Patch(source=source, features=[1], from_position=-1, tokens="all"), Cap(features=2, to="1max")))
    shown = recipe_text(recipe)
    assert shown.replace("\n", "").isprintable()
    assert Recipe.of(tomllib.loads(shown), "it") == recipe


def test_what_strangers_wrote_is_drawn(own):
    save(own, "demo/a", Patch(source="w\u202e3", features=[1], from_position=-1), purpose="a\u202eb", author="<\u200b>")
    page = client_of(own).get("/d/demo/steer").text
    assert not set("\u202e\u200b") & set(page)
    assert "a⟨U+202E⟩b" in page


def test_what_is_set_is_kept_as_an_edit(own):
    client = client_of(own)
    body = {"turn": ["clamp:5:2max", "scale:6:0.5", "add:7:0"], "on": "prompt", "positions": "-3:", "error": "drop"}
    answer = client.post(KEEP, json={**body, "name": "Kind-1", "purpose": "p", "author": "ana"})
    assert answer.status_code == 200, answer.text
    edit = Edit.open(own.root / "demo" / "edits" / "Kind-1")
    most = own.index.summaries([5])[5].max_activation
    where = {"tokens": "prompt", "positions": "-3:"}
    assert edit.recipe.error == "drop"
    [clamp, half] = edit.recipe.edits
    assert clamp.to.times == pytest.approx(2 * most)
    assert half.model_dump(exclude={"rows", "special", "share"}) == {
        "do": "scale",
        "features": (6,),
        "by": 0.5,
        **where,
    }
    assert (edit.report.purpose, edit.report.author) == ("p", "ana")
    [kept] = view(client).kept
    assert kept.model_dump(mode="json") == answer.json()
    again = client.post(KEEP, json={**body, "name": "Kind-1"})
    assert (again.status_code, "already" in again.json()["error"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"turn": []}, 422, "turn"),
        ({"turn": ["clamp:5:0"]}, 422, "nothing to keep|no intervention"),
        ({"name": "../up"}, 422, "name"),
        ({"name": ""}, 422, "name"),
        ({"turn": [f"clamp:{DEAD}:1max"]}, 422, "never fires"),
        ({"turn": ["clamp:24:1max"]}, 404, "features 0 to 23"),
        ({"purpose": "a\0"}, 422, "purpose"),
        ({"prompt": "a"}, 422, "prompt"),
    ],
)
def test_what_can_not_be_kept_is_refused_and_nothing_is_written(own, body, status, said):
    before = sorted(path for path in own.root.rglob("*") if "sqlite" not in path.name)
    answer = client_of(own).post(KEEP, json={"turn": ["clamp:5:2max"], "name": "kind", **body})
    assert answer.status_code == status
    assert re.search(said, answer.json()["error"])
    assert sorted(path for path in own.root.rglob("*") if "sqlite" not in path.name) == before


def test_nothing_is_kept_where_everything_is_read_only(own):
    save(own, "demo/a", Clamp(features=5, to=2.0))
    client = client_of(own, read_only=True)
    assert client.post(KEEP, json={"turn": ["clamp:5:2max"], "name": "kind"}).status_code == 403
    page = client.get("/d/demo/steer").text
    assert "keep-edit" not in page
    assert "Download" in page
    assert new(client, edit="demo/a") == applied(own, own.root / "demo/a")


def test_home_lists_edits_with_what_they_were_made_from(own):
    save(own, "demo/edits/kind", Clamp(features=[5, 6], to=2.0))
    client = client_of(own)
    [group] = client.get("/.json").json()["groups"]
    [edit] = [node for node in group["nodes"] if node["kind"] == "edit"]
    assert (edit["name"], edit["detail"], edit["dictionary"]) == ("edits/kind", "2 features", "demo")
    [sae] = [node["key"] for node in group["nodes"] if node["kind"] == "sae"]
    assert {"source": sae, "target": edit["key"]} in group["links"]
    page = client.get("/").text
    assert 'href="/d/demo/steer#edits"' in page
    assert "1 edit<" in page
    [alone] = TestClient(create_app(own.root / "demo"), base_url=BASE).get("/.json").json()["groups"]
    assert "edit edits/kind" in [f"{node['kind']} {node['name']}" for node in alone["nodes"]]


def test_programs_keep_edits_too(own):
    with running(own.root, give(own)) as port:
        client = Client(f"http://127.0.0.1:{port}")
        kept = client.keep_edit("demo", name="kind", turn=["cap:5:1max"], purpose="be kind")
        assert kept.name == "demo/edits/kind"
        assert client.steer("demo").kept == [kept]
        assert client.write("demo", PROMPT, edit=kept.name, tokens=3).steered
        with pytest.raises(InputError, match="already"):
            client.keep_edit("demo", name="kind", turn=["cap:5:1max"])


def _toml(text):
    return tomllib.loads(text)
