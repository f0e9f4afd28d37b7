"""Indexes of dictionaries that read several hook points or write another one, beside the index of the same features."""

from __future__ import annotations

import pytest
import torch
from index_world import HOOK, NUM_LATENTS, Dictionary, Model, Store

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.store import StoreChunk
from lexiscope.index.build import build_index

FIRST, LAST, MIDDLE = HookPoint.parse("resid_post.1"), HOOK, HookPoint.parse("mlp_in.2")
CUT = 13


class Split(Store):
    """The same activations, cut in two: some dimensions at one hook point, the rest at another."""

    hooks = property(lambda self: [FIRST, LAST], lambda self, _: None)

    def width(self, hook):
        return {FIRST: CUT, LAST: NUM_LATENTS - CUT}[hook]

    def chunks(self, hook, *, chunk_tokens=100, start=0):
        part = slice(0, CUT) if hook == FIRST else slice(CUT, None)
        for chunk in super().chunks(HOOK, chunk_tokens=chunk_tokens, start=start):
            yield StoreChunk(chunk.start, chunk.x_TD[:, part])


def test_hook_points_side_by_side(world, built, tmp_path):
    """Logit effects are those of what is written last."""
    sae, split = Dictionary(), Split(world, tmp_path / "store")
    sae.reads = sae.writes = (FIRST, LAST)
    sae.directions_FD = torch.cat([torch.randn(NUM_LATENTS, 16), sae.directions_FD], dim=1)
    index = build_index(sae, Model(world), split, out=tmp_path / "index")
    assert index.hook == "resid_post.1 + resid_post.2"
    for number in range(NUM_LATENTS):
        ours, theirs = (found.feature(number).model_copy(update={"neighbours": ()}) for found in (index, built))
        assert ours == theirs
    sae.reads = sae.writes = (LAST,)
    with pytest.raises(InputError, match="width 42, the store 29 at resid_post.2"):
        build_index(sae, Model(world), split, out=tmp_path / "again")


def test_effects_are_of_what_is_written(world, store, built, tmp_path):
    sae = Dictionary()
    sae.writes = (HookPoint.parse("mlp_out.2"),)
    index = build_index(sae, Model(world), store, out=tmp_path / "adds")
    assert index.feature(2) == built.feature(2)
    assert index.feature(2).promoted_tokens
    sae.writes = (MIDDLE,)
    index = build_index(sae, Model(world), store, out=tmp_path / "inside")
    assert index.hook == "resid_post.2"
    assert index.feature(2).promoted_tokens == []
