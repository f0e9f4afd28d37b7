"""A closer look at a feature. Oracles: dictionaries that are planted copies of one another, loadings by numpy, a text
in which it is known who absorbs whom, and what a reader sees in Chromium.
"""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file

from lexiscope.core.artifact import open_artifact
from lexiscope.core.errors import InputError
from lexiscope.index.build import build_index
from lexiscope.index.feature import Neighbour
from lexiscope.saes import relu_l1, topk
from lexiscope.saes.parts import random_directions
from lexiscope.web import missed
from lexiscope.web.absorbed import suspects
from lexiscope.web.app import create_app
from lexiscope.web.folder.library import Library
from lexiscope.web.pages import closer
from lexiscope.web.security.access import Access

from .conftest import BASE, PORT, worlds
from .serving import running
from .watching import fits, watch

MOVED = 5
"""Feature f of the planted copy is feature f - 5 here."""
LOST = 3
"""The one that the copy does not have."""

OTHER = "<img src=x onerror=alert(1)>"
"""Name of the folder of a dictionary with other settings."""


def save(path, directions_FD, *, k=4, writes=worlds.WRITTEN):
    sae = topk.TopK(topk.Config(num_latents=len(directions_FD), k=k), worlds.NUM_LATENTS, worlds.MODEL_WIDTH)
    with torch.no_grad():
        sae.W_dec_FD.copy_(directions_FD)
        sae.W_enc_FD.copy_(torch.eye(len(directions_FD), worlds.NUM_LATENTS))
    sae.reads, sae.writes = (worlds.HOOK,), (writes,)
    sae.save(path)
    return open_artifact(path, "sae")


@pytest.fixture(scope="module")
def several(world, tmp_path_factory):
    """A dictionary with an index; a copy of another seed; one of other settings; one of another place."""
    root = tmp_path_factory.mktemp("several")
    own = worlds.Dictionary()
    own.artifact = save(root / "own" / "sae", own.directions_FD)
    build_index(own, worlds.Model(world), worlds.Store(world, root / "own" / "store"), out=root / "own" / "index")
    random = torch.Generator().manual_seed(0)
    copy_FD = own.directions_FD.roll(MOVED, 0) * 3 + 0.1 * torch.randn(own.directions_FD.shape, generator=random)
    copy_FD[LOST + MOVED] = 0
    copy = worlds.Dictionary()
    copy.directions_FD = copy_FD
    copy.artifact = save(root / "copy" / "sae", copy_FD)
    build_index(copy, worlds.Model(world), worlds.Store(world, root / "copy" / "store"), out=root / "copy" / "index")
    save(root / OTHER / "sae", random_directions(worlds.NUM_LATENTS, worlds.MODEL_WIDTH, seed=3), k=5)
    save(root / "elsewhere" / "sae", own.directions_FD, writes=worlds.HOOK)
    return root


@pytest.fixture
def library(several):
    return Library(several)


def test_planted_copies_are_found_again(library):
    own_FD = worlds.Dictionary().directions_FD
    for feature in (2, 17):
        view = closer.read(library, "own", feature)
        copy, other = view.directions.siblings
        assert (copy.name, copy.dictionary, copy.same_settings, copy.feature) == ("copy", "copy", True, feature + MOVED)
        assert copy.cosine > 0.95 > copy.by_chance_high > copy.by_chance > 0
        assert copy.tokens == library.dictionary("copy").index.feature(feature + MOVED).model_dump()["tokens"]
        assert (other.name, other.dictionary, other.same_settings, other.tokens) == (OTHER, None, False, [])
        theirs_FD = random_directions(worlds.NUM_LATENTS, worlds.MODEL_WIDTH, seed=3)
        cosines_F = torch.nn.functional.cosine_similarity(own_FD[feature][None], theirs_FD)
        assert (other.feature, other.cosine) == (
            int(cosines_F.argmax()),
            pytest.approx(float(cosines_F.max()), abs=1e-4),
        )
    lost = closer.read(library, "own", LOST).directions.siblings[0]
    assert lost.cosine < 0.9


def test_shuffled_directions_tell_what_chance_gives(library):
    """Oracle: directions drawn from the sphere are as close to a dictionary of random directions as shuffled ones."""
    theirs_FD = random_directions(worlds.NUM_LATENTS, worlds.MODEL_WIDTH, seed=3)
    found = [closer.read(library, "own", feature).directions.siblings[1] for feature in range(1, 9)]
    drawn = (random_directions(4000, worlds.MODEL_WIDTH, seed=8) @ theirs_FD.T).max(1).values
    assert np.mean([one.by_chance for one in found]) == pytest.approx(float(drawn.mean()), abs=0.03)
    assert np.mean([one.by_chance_high for one in found]) == pytest.approx(float(drawn.quantile(0.95)), abs=0.06)


def test_what_is_too_large_waits_until_it_is_asked_for(library, monkeypatch):
    monkeypatch.setattr(closer, "MOST_AT_ONCE", worlds.NUM_LATENTS * worlds.MODEL_WIDTH)
    found = closer.read(library, "own", 30).directions
    assert ([one.name for one in found.siblings], found.unread) == (["copy"], [OTHER])
    found = closer.read(library, "own", 30, deep=True).directions
    assert ([one.name for one in found.siblings], found.unread) == (["copy", OTHER], [])


def test_loadings_are_squared_coordinates(library):
    own_FD = worlds.Dictionary().directions_FD.numpy()
    decoder, encoder = closer.read(library, "own", 4).directions.aligned
    squares_D = own_FD[4] ** 2 / (own_FD[4] ** 2).sum()
    assert [one.neuron for one in decoder.loadings] == np.argsort(-squares_D)[:8].tolist()
    assert [one.share for one in decoder.loadings] == pytest.approx(sorted(squares_D, reverse=True)[:8], rel=1e-4)
    assert (decoder.hook, encoder.hook) == (str(worlds.WRITTEN), str(worlds.HOOK))
    assert (encoder.loadings[0].neuron, encoder.loadings[0].share, encoder.spread) == (4, 1, 1)


@pytest.mark.parametrize("name", ["own", "copy"])
def test_weights_that_are_not_as_they_should_be_are_said(several, tmp_path, name):
    """Half of the rows: the page answers all the same, and the others are still compared."""
    root = shutil.copytree(several, tmp_path / "runs")
    path = root / name / "sae" / "sae.safetensors"
    tensors = load_file(path)
    save_file({key: tensor[: len(tensor) // 2].contiguous() for key, tensor in tensors.items()}, path)
    answer = TestClient(create_app(root, port=PORT), base_url=BASE).get("/d/own/features/40/closer.json")
    assert answer.status_code == 200
    view = answer.json()
    if name == "own":
        assert view["directions"] is None
        assert view["problem"]
    else:
        assert [one["name"] for one in view["directions"]["siblings"]] in ([OTHER], ["copy", OTHER])


def test_without_its_weights_the_page_says_so(root):
    view = closer.read(Library(root), "demo", 3)
    assert view.directions is None
    assert "sae.safetensors" in view.problem
    assert view.near_misses is None


class Absorbing:
    """An index of five features: 1 took the place of 0 on half of the occurrences of token 3; 2 fires there, too."""

    def __init__(self):
        random = np.random.default_rng(0)
        tokens_T = random.integers(0, 40, 20_000).astype(np.int32)
        half = random.random(20_000) < 0.5
        fires = {1: (tokens_T == 3) & half, 2: (tokens_T == 5) & half, 3: (tokens_T == 20) & half, 4: tokens_T == 7}
        fires[0] = (tokens_T < 10) & ~fires[1] & (random.random(20_000) < 0.9)
        self.rows = {feature: np.flatnonzero(at) for feature, at in fires.items()}
        self.text = SimpleNamespace(tokens_T=tokens_T)

    def firings(self, feature):
        return self.rows[feature], np.ones(len(self.rows[feature]), np.float32)

    def summaries(self, features):
        return {
            feature: SimpleNamespace(density=len(self.rows[feature]) / 20_000, mean_activation=1.0)
            for feature in features
        }


@pytest.mark.parametrize(("feature", "beside"), [(0, [1, 2, 3]), (1, [0, 3])])
def test_the_one_that_took_its_place_is_suspected_from_either_side(feature, beside):
    axes = torch.eye(8)
    directions_FD = torch.stack([axes[0], axes[1] + axes[0], axes[2] + axes[0], axes[3], axes[4] + axes[0]])
    cosines_F = torch.nn.functional.cosine_similarity(directions_FD[feature][None], directions_FD)
    neighbours = [Neighbour(feature=other, cosine=float(cosines_F[other]), tokens=[]) for other in beside]
    found, compared = suspects(Absorbing(), feature, neighbours, directions_FD[[feature, *beside]])
    assert [(one.absorbing, one.absorbed) for one in found] == [(1, 0)]
    assert compared == (2 if feature == 0 else 1)
    assert found[0].expected == pytest.approx(0.9, abs=0.05)


def test_a_feature_without_neighbours_has_no_suspects():
    assert suspects(Absorbing(), 0, [], torch.eye(8)[:1]) == ([], 0)


def lifted():
    """A dictionary that fires where the index says, and whose pre-activations below 0 differ from token to token."""
    sae = relu_l1.ReluL1(relu_l1.Config(num_latents=worlds.NUM_LATENTS), worlds.NUM_LATENTS)
    with torch.no_grad():
        sae.W_enc_FD.copy_(torch.eye(worlds.NUM_LATENTS))
        sae.W_enc_FD[DEF, ALWAYS] = -1.0
        sae.W_dec_FD.copy_(sae.W_enc_FD)
    sae.reads = sae.writes = (worlds.HOOK,)
    return sae.requires_grad_(False)


ALWAYS, DEF = 1, 2


@pytest.fixture
def measurable(several, world, tmp_path):
    """A copy to write notes beside, and what puts a model there."""
    shutil.copytree(several, tmp_path / "runs")

    def prepare(app):
        app.state.library.dictionary("own").reader.__dict__["_parts"] = (worlds.Model(world), lifted())

    return tmp_path / "runs", prepare


def test_near_misses_are_kept_and_are_silent_places(measurable, world):
    """Oracle: the pre-activation of "def" less that of the feature that always fires, token by token."""
    root, prepare = measurable
    app = create_app(root, port=PORT)
    prepare(app)
    client = TestClient(app, base_url=BASE)
    address = f"/d/own/features/{DEF}"
    assert client.get(f"{address}/closer.json").json()["near_misses"] is None
    found = client.post(f"{address}/near-misses.json", json={"author": "ana"}).json()
    assert client.get(f"{address}/closer.json").json()["near_misses"] == found
    said = found["missed"]
    assert (said["rule"], said["threshold"], found["asked_by"]) == ("zero", 0, "ana")
    assert 0 < said["fires"] < said["tokens"]
    gaps = [one["bar"] - one["pre_activation"] for one in found["misses"]]
    assert gaps == sorted(gaps)
    texts = set()
    for one in found["misses"]:
        row = one["example"]["row"]
        assert world.codes_TF[row, DEF] == 0 == one["example"]["activation"]
        assert one["pre_activation"] == pytest.approx(-world.codes_TF[row, ALWAYS], abs=1e-4)
        texts.add(world.tokens_T[max(row - 6, 0) : row + 4].tobytes())
    assert len(texts) == len(found["misses"]) > 3


def test_dead_features_and_strange_architectures_are_refused_in_words(measurable, world):
    root, _ = measurable
    found = Library(root).dictionary("own")
    with pytest.raises(InputError, match="never fired"):
        missed.measure(found, found.index.feature(0), "")
    found.reader.__dict__["_parts"] = (worlds.Model(world), worlds.Dictionary())
    with pytest.raises(InputError, match="pre-activation"):
        missed.measure(found, found.index.feature(DEF), "")


@pytest.mark.parametrize(("feature", "why"), [(0, "never fired"), (ALWAYS, "fires wherever")])
def test_what_can_have_no_near_misses_is_not_there(measurable, feature, why):
    root, prepare = measurable
    app = create_app(root, port=PORT)
    prepare(app)
    answer = TestClient(app, base_url=BASE).post(f"/d/own/features/{feature}/near-misses.json", json={})
    assert answer.status_code == 404
    assert why in answer.json()["error"]


def test_near_misses_wait_for_nobody_in_read_only_mode(measurable):
    root, _ = measurable
    client = TestClient(create_app(root, access=Access.at(port=PORT, read_only=True)), base_url=BASE)
    assert client.post(f"/d/own/features/{DEF}/near-misses.json", json={}).status_code == 403
    page = client.get(f"/d/own/features/{DEF}/closer").text
    assert "read-only" in page
    assert "data-measure" not in page


def test_all_of_it_comes_in_one_panel(measurable, browser):
    root, prepare = measurable
    with running(root, prepare) as port:
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        wrong = watch(page, f"http://127.0.0.1:{port}")
        page.goto(f"http://127.0.0.1:{port}/d/own/features/{DEF}")
        page.locator("#near-misses").scroll_into_view_if_needed()
        page.wait_for_selector("#stability td")
        assert page.locator("#stability tbody tr").count() == 2
        assert "another seed" in page.locator("#stability tbody tr").first.inner_text()
        assert page.locator("#alignment .loadings").count() == 2
        assert "Only near neighbours are compared" in page.locator("#absorption").inner_text()
        page.get_by_role("button", name="Look for near-misses").click()
        page.wait_for_selector("#near-misses .misses li")
        assert page.locator("#near-misses .misses li").count() > 3
        assert "fires above 0" in page.locator("#near-misses").inner_text()
        page.reload()
        page.locator("#near-misses").scroll_into_view_if_needed()
        page.wait_for_selector("#near-misses .misses li")
        assert fits(page)
        page.locator(".neighbours .beside").first.click()
        page.wait_for_url("**/compare?**")
        assert f"own:{DEF}" in page.locator("main").inner_text() or page.locator(".twins").count() == 1
        page.goto(f"http://127.0.0.1:{port}/d/own/features/{DEF}/closer")
        assert page.locator("#near-misses .misses li").count() > 3
        assert wrong == []
        page.close()
