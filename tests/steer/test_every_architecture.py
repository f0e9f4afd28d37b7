"""Files of `saes/` are found, not listed. Oracle: all codes as one dense matrix, of the model without any change."""

from __future__ import annotations

import contextlib

import pytest
import torch

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, Cap, Clamp, Patch, Scale

from .reference import SPECIAL

HERE, LATER, BEFORE, AFTER = map(HookPoint.parse, ("resid_post.1", "resid_post.2", "mlp_in.1", "mlp_out.1"))
PLACES = [((HERE,), (HERE,)), ((BEFORE,), (AFTER,)), ((HERE, LATER), (HERE, LATER))]
"""An autoencoder's, a transcoder's, a crosscoder's."""
EDITS = {
    "clamp": (Clamp(features=0, to=3, positions="1:6"), lambda f: torch.cat([torch.full_like(f[:1], 3), f[1:]])),
    "ablate": (Ablate(features=0, positions="1:6"), lambda f: torch.cat([torch.zeros_like(f[:1]), f[1:]])),
    "scale": (Scale(features=0, by=3, positions="1:6"), lambda f: torch.cat([3 * f[:1], f[1:]])),
    "add": (Add(features=0, by=-2, positions="1:6"), lambda f: torch.cat([f[:1] - 2, f[1:]])),
    "patch": (Patch(source="a b", from_position=-1, positions="1:6"), None),
}


def _clamped(f_F):
    return torch.cat([torch.full_like(f_F[:1], 5), f_F[1:]])


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(3, 60, (3, 9), generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=sorted(saes.architectures()))
def sae(request, small):
    """Feature 0 of most fires now and then: all of them are started on real activations."""
    make = saes.architectures()[request.param].Config
    sizes = {"k": 6, "num_latents": 20}
    config = make(**{key: value for key, value in sizes.items() if key in make.model_fields})
    seen_BC = torch.randint(3, 60, (32, 12), generator=torch.Generator().manual_seed(7))
    at = small.read(seen_BC, [HERE, BEFORE, AFTER, LATER])
    for reads, writes in PLACES:
        with contextlib.suppress(InputError):
            config = config.for_sites(reads, writes, [small.width] * len(reads))
            break
    x_TD, y_TD = (torch.cat([at[hook].flatten(0, 1) for hook in hooks], 1) for hooks in (reads, writes))
    x_TD, y_TD = (x_TD.abs(), y_TD.abs()) if request.param == "nmf" else (x_TD, y_TD)
    made = saes.create(config, Batch.same(x_TD) if reads == writes else Batch(x_TD, y_TD), seed=1)
    made.reads, made.writes = reads, writes
    return made


def expected(model, sae, change, tokens_BC, places, *, drop=False):
    """Logits with g = change(f) on some positions; clean activations are known beforehand."""
    hooks = list(dict.fromkeys([*sae.reads, *sae.writes]))
    clean = model.read(tokens_BC, hooks)
    x_TD = torch.cat([clean[hook] for hook in sae.reads], 2).flatten(0, 1)
    codes = sae.encode(x_TD)
    f_TF = codes.dense()
    g_TF = torch.stack([change(f_F) for f_F in f_TF])
    by_TE = (g_TF - f_TF) @ sae.directions_FD
    out_TE = sae.reconstruct(x_TD, codes) + by_TE if drop else None
    parts = [clean[hook].shape[2] for hook in sae.writes]

    def put(number, hook):
        def replace(x_BCD):
            new_BCD = x_BCD.clone()
            by_BCD = by_TE.split(parts, 1)[number].view(x_BCD.shape)
            there_BCD = clean[hook] + by_BCD if out_TE is None else out_TE.split(parts, 1)[number].view(x_BCD.shape)
            touched_BC = torch.zeros(x_BCD.shape[:2], dtype=torch.bool)
            touched_BC[:, places] = True
            touched_BC &= tokens_BC >= SPECIAL
            if out_TE is None:
                touched_BC &= (g_TF != f_TF).any(1).view(touched_BC.shape)
            new_BCD[touched_BC] = there_BCD[touched_BC]
            return new_BCD

        return replace

    with torch.no_grad(), model.splice({hook: put(number, hook) for number, hook in enumerate(sae.writes)}):
        return model.logits(tokens_BC)


@torch.no_grad()
@pytest.mark.parametrize("error", ["keep", "drop"])
@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_is_what_the_dense_codes_say(small, sae, tokens, kind, error):
    edit, change = EDITS[kind]
    if change is None:
        at = small.read(torch.tensor([[1, 3, 4]]), sae.reads)
        source_F = sae.encode(torch.cat([at[hook][0] for hook in sae.reads], 1)).dense()[-1]

        def change(_):
            return source_F

    with editing(small, sae, edit, error=error):
        found = small.logits(tokens)
        whole = small.generate_tokens(tokens, max_new_tokens=4, cache=False)
        cached = small.generate_tokens(tokens, max_new_tokens=4)
    wanted = expected(small, sae, change, tokens, slice(1, 6), drop=error == "drop")
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=2e-3)
    assert torch.equal(whole, cached)


@torch.no_grad()
@pytest.mark.parametrize("on", ["all", "generated"])
def test_generation_with_and_without_a_cache(small, sae, tokens, on, monkeypatch):
    """Oracle: whole texts without a cache, changed from what the model has on them without the change."""
    monkeypatch.setattr(small, "_end_ids", set)
    edit = Clamp(features=0, to=5, tokens=on)
    with editing(small, sae, edit):
        texts = [small.generate_tokens(tokens, max_new_tokens=5, cache=cache) for cache in (True, False)]
    text_BC = tokens
    for _ in range(5):
        touched = slice(0 if on == "all" else tokens.shape[1], None)
        logits = expected(small, sae, _clamped, text_BC, touched)
        text_BC = torch.cat([text_BC, logits[:, -1:].argmax(-1)], 1)
    for text in texts:
        assert torch.equal(text, text_BC[:, tokens.shape[1] :])


@torch.no_grad()
def test_ablating_what_does_not_fire_keeps_every_bit(small, sae, tokens):
    clean = small.read(tokens, list(sae.reads))
    x_TD = torch.cat([clean[hook] for hook in sae.reads], 2).flatten(0, 1)
    silent_BC = (sae.encode(x_TD).dense()[:, 0] == 0).view(tokens.shape)
    logits = small.logits(tokens)
    quiet = silent_BC.all(1).nonzero()[:, 0].tolist()
    some = [row for row in range(3) if row not in quiet]
    with editing(small, sae, Ablate(features=0)):
        found = small.logits(tokens)
    for row in quiet:
        assert torch.equal(found[row], logits[row])
    if some and sae.directions_FD[0].any():
        assert not torch.equal(found[some], logits[some])


def test_a_crosscoder_has_no_projection_to_cap(small, sae):
    if len(sae.writes) < 2:
        return
    with pytest.raises(InputError, match="can't be capped"), editing(small, sae, Cap(features=0, to=1)):
        pass
