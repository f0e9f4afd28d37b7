"""Two features, or two dictionaries, side by side.

Oracles: dense vectors over all tokens and numpy on them; brute force over all pairs of directions; the address.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from index_world import Dictionary, Model, Store
from safetensors.torch import save_file
from starlette.testclient import TestClient

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.manifest import MANIFEST, read_sealed, write_sealed
from lexiscope.index.build import build_index
from lexiscope.index.concordance.sample import Sample
from lexiscope.web.app import create_app
from lexiscope.web.compare import Firings, counts
from lexiscope.web.folder.library import Library
from lexiscope.web.matching import closest, phi
from lexiscope.web.pages.compare import CompareView, read

BASE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def two(world, tmp_path_factory):
    """Two dictionaries on the same activations, the second of them the first in another order."""
    root = tmp_path_factory.mktemp("two")
    store = Store(world, root / "store")

    def make(name: str, order_F: torch.Tensor, of: Store) -> None:
        class Ordered(Dictionary):
            def __init__(self) -> None:
                super().__init__()
                self.directions_FD = self.directions_FD[order_F]

            def encode(self, x_TD):
                return super().encode(x_TD[:, order_F])

        sae = Ordered()
        with write_artifact(
            root / name / "sae", "sae", config={"sae": {"architecture": "topk"}, "name": name}
        ) as draft:
            save_file({"W_dec_FD": sae.directions_FD.contiguous()}, draft.path / "sae.safetensors")
        sae.artifact = open_artifact(root / name / "sae", "sae")
        build_index(sae, Model(world), of, out=root / name / "index")

    width = Dictionary().num_latents
    make("one", torch.arange(width), store)
    make("other", torch.arange(width - 1, -1, -1), store)
    return root


def dense(index, feature: int) -> np.ndarray:
    rows, values = index.firings(feature)
    made = np.zeros(index.num_tokens)
    made[rows] = values
    return made


@pytest.mark.parametrize(("first", "second"), [(3, 7), (14, 1), (2, 2), (0, 3), (7, 1)])
def test_what_two_features_have_in_common_is_exact(two, first, second):
    library = Library(two)
    index = library.dictionary("one").index
    a, b = dense(index, first), dense(index, second)
    over = read(library, f"one:{first}", f"one:{second}").features.overlap
    assert (over.both, over.only_a, over.only_b) == (
        int(((a > 0) & (b > 0)).sum()),
        int(((a > 0) & (b == 0)).sum()),
        int(((a == 0) & (b > 0)).sum()),
    )
    assert over.jaccard == pytest.approx(((a > 0) & (b > 0)).sum() / max(((a > 0) | (b > 0)).sum(), 1), rel=1e-5)
    assert over.by_chance == pytest.approx((a > 0).mean() * (b > 0).sum(), rel=1e-5)
    if a.std() and b.std():
        assert over.correlation == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-4, abs=1e-6)
    else:
        assert over.correlation is None


def test_examples_are_of_the_places_that_they_say(two):
    library = Library(two)
    index = library.dictionary("one").index
    a, b = dense(index, 7), dense(index, 14)
    over = read(library, "one:7", "one:14").features.overlap
    assert all(a[example.row] > 0 < b[example.row] for example in over.together)
    assert all(a[example.row] > 0 == b[example.row] for example in over.only_a_examples)
    for example in [*over.together, *over.only_a_examples]:
        first = example.row - example.focus
        assert example.activations == pytest.approx(a[first : first + len(example.pieces)].tolist(), rel=1e-5)
        assert example.activation == pytest.approx(a[example.row], rel=1e-5)
    strengths = [example.activation for example in over.only_a_examples]
    assert strengths == sorted(strengths, reverse=True)


def test_the_same_feature_under_another_number_is_the_same(two):
    library = Library(two)
    last = library.dictionary("one").index.num_features - 1
    found = read(library, "one:3", f"other:{last - 3}").features
    assert found.cosine == pytest.approx(1)
    assert found.overlap.jaccard == 1
    assert found.overlap.only_a == found.overlap.only_b == 0


def test_another_store_can_not_be_set_side_by_side(two, tmp_path):
    """The same tokens, but an index that says that it was made from other activations."""
    shutil.copytree(two / "one", tmp_path / "one")
    shutil.copytree(two / "other", tmp_path / "other")
    file = tmp_path / "other" / "index" / MANIFEST
    said = read_sealed(file)
    next(entry for entry in said["made_from"] if entry["kind"] == "store")["fingerprint"] = "of another"
    said.pop("manifest_sha256", None)
    write_sealed(file, said)
    library = Library(tmp_path)
    found = read(library, "one:3", "other:3").features
    assert found.overlap is None
    assert found.cosine is not None
    assert read(library, "one", "other").dictionaries.matches.firing is None


def test_an_sae_that_is_not_here_leaves_the_firings(two, tmp_path):
    shutil.copytree(two / "one" / "index", tmp_path / "one" / "index")
    library = Library(tmp_path)
    found = read(library, "one:3", "one:7").features
    assert found.cosine is None
    assert found.overlap is not None
    assert read(library, "one", "one").dictionaries.matches.cosine is None


def test_a_dictionary_in_another_order_matches_whole(two):
    library = Library(two)
    found = read(library, "one", "other").dictionaries.matches
    live = len(library.dictionary("one").index.live())
    assert found.cosine.a_in_b.sampled == found.cosine.a_in_b.close == found.cosine.mutual == live
    assert found.cosine.a_in_b.mean == pytest.approx(1)
    assert found.cosine.chance < 0.9
    index = library.dictionary("one").index
    # What never changes correlates with nothing.
    always = sum(len(index.firings(feature)[0]) == index.num_tokens for feature in index.live())
    assert found.firing.a_in_b.close == found.firing.b_in_a.close == live - always
    assert found.firing.a_in_b.mean == pytest.approx((live - always) / live)


def test_the_closest_direction_is_that_of_brute_force():
    torch.manual_seed(0)
    queries, directions = torch.randn(7, 5), torch.randn(40, 5)
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], directions[None], dim=2)
    best, place = closest(queries, directions)
    torch.testing.assert_close(best, cosines.max(dim=1).values)
    assert place.tolist() == cosines.argmax(dim=1).tolist()


def test_phi_is_the_correlation_of_dense_columns():
    chance = np.random.default_rng(0)
    dense_RF, dense_RG = chance.random((60, 5)) < 0.3, chance.random((60, 8)) < 0.2

    def sample(dense_RL: np.ndarray, rows: np.ndarray) -> Sample:
        offsets = np.concatenate([[0], dense_RL.sum(axis=1).cumsum()])
        return Sample(0, rows, offsets, np.nonzero(dense_RL)[1].astype(np.int32))

    rows = np.arange(60)
    shared = rows[10:50]
    found = phi(sample(dense_RF[:50], rows[:50]), np.arange(5), sample(dense_RG[10:], rows[10:]))
    wanted = np.corrcoef(dense_RF[shared].T, dense_RG[shared].T)[:5, 5:].max(axis=1)
    np.testing.assert_allclose(found, np.maximum(wanted, 0), rtol=1e-9)


def test_counts_of_silence():
    nothing = Firings(np.empty(0, np.int64), np.empty(0, np.float32))
    assert counts(nothing, nothing, 10) == (0, 0, 0, 0, 0, None)


def test_an_sae_that_can_not_be_read_leaves_the_firings(root):
    """The weights of that run are no weights."""
    found = read(Library(root), "demo:3", "demo:7").features
    assert found.cosine is None
    assert found.overlap is not None


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 200, "Two features"),
        ("?a=one:3", 200, "one:3"),
        ("?a=one:3&b=one:7", 200, "Where they fire"),
        ("?a=one&b=other", 200, "Features that the other one has"),
        ("?a=one&b=one", 200, "Features that the other one has"),
        ("?a=one:3&b=other", 422, "two of a kind"),
        ("?a=nowhere&b=one", 404, "no dictionary"),
        ("?a=one:999&b=one:1", 404, "no feature 999"),
        ("?a=one:x&b=one:1", 422, "names no feature"),
        ("?a=one:-1&b=one:1", 422, "names no feature"),
        ("?a=one:٣&b=one:1", 422, "names no feature"),
        ("?a=" + "x" * 101, 422, "a"),
    ],
)
def test_the_address_carries_the_view(two, query, status, said):
    client = TestClient(create_app(two), base_url=BASE)
    page = client.get(f"/compare{query}")
    assert page.status_code == status
    assert said in page.text
    twin = client.get(f"/compare.json{query}")
    assert twin.status_code == status
    if status == 200:
        CompareView.model_validate_json(twin.text)


def test_without_dictionaries_there_is_a_way_on(tmp_path):
    page = TestClient(create_app(tmp_path), base_url=BASE).get("/compare").text
    assert "no dictionary in this folder yet" in page
