"""Search by meaning. Oracle: cosines in double precision of every live label, with vectors that a test made up."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.index.notes import By, Dictionary, NewLabel, Notes, meaning
from lexiscope.index.notes.meaning import Meaning

SAE = Dictionary("f" * 64, 1000)
ANA = By(author="ana")


class MadeUp:
    """A direction of its own for every text, and how many were asked for."""

    def __init__(self, width=24, fingerprint="made up"):
        self.width, self.fingerprint, self.asked = width, fingerprint, []

    def encode(self, texts):
        self.asked += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) for text in texts]
        rows = [torch.randn(self.width, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.nn.functional.normalize(torch.stack(rows or [torch.empty(self.width)])[: len(rows)], dim=1)


def closest(encoder, query, labels):
    vectors = encoder.encode([query, *[label.text for label in labels]]).double()
    return dict(zip([label.id for label in labels], (vectors[1:] @ vectors[0]).tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=40), limit=st.integers(1, 10))
def test_the_closest_are_found(tmp_path_factory, texts, limit):
    with Notes(tmp_path_factory.mktemp("notes") / "n.sqlite", SAE) as notes, pytest.MonkeyPatch.context() as patch:
        patch.setattr(meaning, "_AT_ONCE", 7)
        patch.setattr(meaning, "_BETWEEN_SAVES", 5)
        notes.labels.add_many(NewLabel(feature=number % 9, text=text, by=ANA) for number, text in enumerate(texts))
        encoder = MadeUp()
        search = Meaning(notes, encoder)
        assert search.update() == len(set(texts))
        assert sorted(encoder.asked) == sorted(set(texts))
        notes.labels.remove(1, ANA)
        labels = [label for feature in range(9) for label in notes.labels.of(feature)]
        expected = closest(encoder, "query", labels)
        found = search("query", limit)
        assert found.searched == notes.labels.count() + 1
        assert found.waiting == 0
        assert len(found.hits) == min(limit, len(labels))
        for hit, best in zip(found.hits, sorted(expected.values(), reverse=True), strict=False):
            assert hit.cosine == pytest.approx(expected[hit.label.id], abs=0.01)
            assert hit.cosine == pytest.approx(best, abs=0.01)
        assert [hit.cosine for hit in found.hits] == sorted((hit.cosine for hit in found.hits), reverse=True)


def test_what_is_new_waits_and_what_is_known_is_not_encoded_again(notes):
    encoder = MadeUp()
    search = Meaning(notes, encoder)
    with pytest.raises(InputError, match="; make them with: lexiscope embed"):
        search("x")
    assert search.update() == 0
    notes.labels.add(1, "brackets", ANA)
    notes.labels.add(2, "quotes", ANA)
    assert search.update() == 2
    notes.labels.add(3, "brackets", ANA)
    notes.labels.add(4, "names", ANA)
    found = search("quotes")
    assert (found.searched, found.waiting, found.hits[0].label.feature) == (2, 2, 2)
    assert found.hits[0].cosine == pytest.approx(1, abs=0.01)
    assert Meaning(notes, encoder).update() == 1  # by another process
    assert {hit.label.feature for hit in search("brackets", 2).hits} == {1, 3}
    before = search.path.stat()
    assert search.update() == 0
    assert search.path.stat().st_ino == before.st_ino
    assert not [path for path in notes.path.parent.iterdir() if "partial" in path.name]


def test_vectors_of_something_else_are_refused(notes, tmp_path):
    notes.labels.add(1, "brackets", ANA)
    search = Meaning(notes, MadeUp())
    search.update()
    for other in (MadeUp(fingerprint="another"), MadeUp(width=25)):
        with pytest.raises(ArtifactError, match="; "):
            Meaning(notes, other)("x")
        with pytest.raises(ArtifactError, match="; "):
            Meaning(notes, other).update()
    (tmp_path / "elsewhere").mkdir()
    with Notes(tmp_path / "elsewhere" / notes.path.name, SAE) as others:
        others.labels.add(1, "of other notes", ANA)
        (tmp_path / "elsewhere" / search.path.name).write_bytes(search.path.read_bytes())
        with pytest.raises(ArtifactError, match="of other labels"):
            Meaning(others, MadeUp())("x")


@pytest.mark.parametrize("how", ["short", "noise", "places", "empty", "folder"])
def test_damaged_vectors(notes, how):
    notes.labels.add(1, "brackets", ANA)
    search = Meaning(notes, MadeUp())
    search.update()
    whole = search.path.read_bytes()
    if how == "places":
        from safetensors.torch import load_file, save_file

        tensors = load_file(search.path) | {"places_L": torch.tensor([7])}
        save_file(tensors, search.path)
    elif how == "folder":
        search.path.unlink()
        search.path.mkdir()
    else:
        search.path.write_bytes({"short": whole[:-9], "noise": b"\xff" * 200, "empty": b""}[how])
    with pytest.raises((ArtifactError, InputError), match="; "):
        search("x")


@pytest.mark.parametrize(("query", "limit"), [("", 5), (" \n", 5), ("x" * 1001, 5), ("x", 0), ("x", 501)])
def test_what_can_not_be_asked(notes, query, limit):
    with pytest.raises(InputError, match="; ask for such a one"):
        Meaning(notes, MadeUp())(query, limit)
