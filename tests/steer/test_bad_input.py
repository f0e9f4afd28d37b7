"""What can't be done is refused in one sentence. Oracle: the thing that the sentence names."""

from __future__ import annotations

import pytest
import torch
from tests.index.conftest import built, store, world, worlds  # noqa: F401

from lexiscope import saes
from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.steer.applying.checks import check_features, check_index
from lexiscope.steer.applying.source import codes_of
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, Cap, Clamp, Patch, Scale, read_intervention
from lexiscope.steer.strength import Units

from .conftest import dictionary


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Clamp(features=1, to=float("nan")), "strength nan is not finite"),
        (lambda: Add(features=1, by="infmax"), "'infmax' is no strength"),
        (lambda: Scale(features=1, by=float("inf")), "finite"),
        (lambda: Clamp(features=-1, to=1), "-1"),
        (lambda: Clamp(features=2**40, to=1), "features"),
        (lambda: Clamp(features=[], to=1), "no feature is named"),
        (lambda: Clamp(features=[1, 1], to=1), "names a feature twice"),
        (lambda: Clamp(features="1", to=1), "features"),
        (lambda: Clamp(features=[True], to=1), "no list of features"),
        (lambda: Clamp(features=1), "to"),
        (lambda: Clamp(features=1, to=1, strength=2), "unknown key 'strength'"),
        (lambda: Clamp(features=1, to=1, share=2), "share"),
        (lambda: Clamp(features=1, to=1, positions="1:5:2"), "no slice of positions"),
        (lambda: Clamp(features=1, to=1, positions=slice(0, 5, 2)), "leave its step out"),
        (lambda: Clamp(features=1, to=1, tokens="some"), "tokens"),
        (lambda: Ablate(features=1, to="resample"), "needs a source"),
        (lambda: Ablate(features=1, source="a"), "needs a source"),
        (lambda: Patch(source=3), "source"),
        (lambda: read_intervention({"do": "clmp"}, "edit 2"), "edit 2: there is no intervention 'clmp'"),
        (lambda: read_intervention({"do": "cap", "features": 1}, "edit 2"), "edit 2: cap: to"),
        (lambda: read_intervention("clamp", "edit 2"), "edit 2"),
    ],
)
def test_values(make, words):
    with pytest.raises(InputError) as refused:
        make()
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("edits", "options", "words"),
    [
        (Clamp(features=99, to=1), {}, "there is no feature 99; this dictionary has features 0 to 23"),
        (Clamp(features=1, to="2max"), {}, "an index of this dictionary says"),
        (Ablate(features=1, to="mean"), {}, "needs an index"),
        ([Clamp(features=[1, 2], to=1), Clamp(features=2, to=3)], {}, "interventions 1 (clamp) and 2 (clamp) both say"),
        ([Add(features=1, by=1), Clamp(features=1, to=1), Ablate(features=1)], {}, "2 (clamp) and 3 (ablate)"),
        ([Patch(source="a"), Patch(source="b")], {}, "every feature"),
        ([Clamp(features=1, to=1, positions=-1), Clamp(features=1, to=2, positions=8)], {}, "both say what feature 1"),
        (Clamp(features=1, to=1, rows=7), {}, "there is no row 7 in a batch of 2"),
        (Clamp(features=1, to=1, positions=-10), {}, "there is no position -10 in a prompt of 9"),
        (Clamp(features=1, to=1), {"prompt_tokens": [3]}, "there are 1 prompts, but a batch of 2"),
        (Patch(source="a b c"), {}, "position 8 is to be patched from a source of 4 tokens"),
        (Patch(source="a b c", from_position=5), {}, "no token 5 in a source of 4"),
        (Patch(source=""), {}, "nothing to read"),
        (Clamp(features=1, to=1), {"error": "kep"}, "kept or dropped, not 'kep'"),
    ],
)
def test_edits(small, tokens_BC, edits, options, words):
    sae = dictionary(small)
    with pytest.raises(InputError) as refused, editing(small, sae, edits, **options):
        small.logits(tokens_BC)
    assert words in str(refused.value)
    assert not small.module._forward_hooks


def test_what_does_not_meet_is_no_contradiction(small, tokens_BC):
    sae = dictionary(small)
    for first, second in [
        ({"rows": 0}, {"rows": 1}),
        ({"tokens": "prompt"}, {"tokens": "generated"}),
        ({"positions": [1, 2]}, {"positions": [3]}),
        ({"positions": -1}, {"positions": 3}),
        ({"positions": ":3"}, {"positions": "3:"}),
    ]:
        with editing(small, sae, [Clamp(features=1, to=1, **first), Clamp(features=1, to=2, **second)]):
            small.logits(tokens_BC)


def test_dictionaries_that_do_not_fit(small, tiny, tokens_BC):
    sae = dictionary(small)
    with pytest.raises(InputError, match="does not say which hook point"):
        sae.hook = None
        with editing(small, sae, Ablate(features=1)):
            pass
    with pytest.raises(InputError, match=r"resid_post.9|layers 0 to 2"):
        sae.hook = HookPoint("resid_post", 9)
        with editing(small, sae, Ablate(features=1)):
            pass
    wide = saes.create(saes.relu_l1.Config(num_latents=8), torch.randn(99, 20))
    wide.hook = HookPoint("resid_post", 1)
    refused = pytest.raises(InputError, match=r"reads 20 dimensions, but resid_post.1 of .* has 16")
    with refused, editing(small, wide, Ablate(features=1)):
        pass
    other = codes_of(tiny("gpt2"), dictionary(tiny("gpt2"), saes.relu_l1.Config(num_latents=8)), "a b")
    with pytest.raises(InputError, match="the source has codes of 8 features"):
        sae.hook = HookPoint("resid_post", 1)
        with editing(small, sae, Patch(source=other)):
            pass


def test_a_dictionary_of_another_model(small, tiny, tokens_BC, tmp_path):
    sae = dictionary(small)
    sae.save(tmp_path / "sae", sources={"model": small.describe()})
    loaded = saes.load(tmp_path / "sae")
    with editing(small, loaded, Ablate(features=1)):
        assert small.logits(tokens_BC) is not None
    refused = pytest.raises(InputError, match="was trained on .*llama, which .*qwen2 is not")
    with refused, editing(tiny("qwen2"), loaded, Ablate(features=1)):
        pass
    with editing(tiny("qwen2"), loaded, Ablate(features=1), other_model=True):
        pass


def test_dead_features_and_other_indexes(built, small):  # noqa: F811
    units, sae = Units(built), worlds.Dictionary()
    edit = [Clamp(features=[2, 0], to=1)]
    with pytest.raises(InputError, match="feature 0 never fires in the indexed text"):
        check_features(edit, sae, units, allow_dead=False)
    check_features(edit, sae, units, allow_dead=True)
    with pytest.raises(InputError, match="feature 0 never fires"):
        units.activation(0, Cap(features=0, to="1max").to)
    with pytest.raises(InputError, match="the index of another dictionary"):
        check_index(dictionary(small), units)
    assert isinstance(built.artifact, Artifact)


def test_a_crosscoder_in_the_middle_of_a_text(small, tokens_BC):
    """It needs the tokens that came before, and they came before the block."""
    hooks = (HookPoint("resid_post", 1), HookPoint("resid_post", 2))
    config = saes.crosscoder.Config(num_latents=8, site_widths=(16, 16))
    sae = saes.create(config, torch.randn(64, 32, generator=torch.Generator().manual_seed(0)))
    sae.reads = sae.writes = hooks
    past = small.module(tokens_BC, use_cache=True).past_key_values
    refused = pytest.raises(InputError, match="begin it inside the block")
    with refused, editing(small, sae, Add(features=1, by=1)):
        small.module(tokens_BC[:, -1:], use_cache=True, past_key_values=past)
