"""HookPoint, Config and seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lexiscope.core.config import Config, read_recipe
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import LAYER_SITES, HookPoint
from lexiscope.core.seeds import derive_seed, generator


@given(st.sampled_from(sorted(LAYER_SITES)), st.integers(0, 200))
def test_hook_points_are_written_as_they_are_read(site: str, layer: int) -> None:
    hook = HookPoint.parse(f"{site}.{layer}")
    assert (hook.site, hook.layer) == (site, layer)
    assert HookPoint.parse(str(hook)) == hook


def test_other_forms() -> None:
    assert HookPoint.parse("blocks.3.hook_resid_post") == HookPoint("resid_post", 3)
    assert HookPoint.parse("embed") == HookPoint("embed")
    assert str(HookPoint.parse("module:model.layers.0.mlp")) == "module:model.layers.0.mlp"


@given(st.text(max_size=30))
def test_anything_else_is_refused_with_the_choices(text: str) -> None:
    try:
        HookPoint.parse(text)
    except InputError as error:
        assert "resid_post.N" in str(error)


class Example(Config):
    k: int = 3
    name: str = "a"


def test_unknown_keys_and_wrong_types_are_named() -> None:
    with pytest.raises(InputError, match="recipe.toml: unknown key 'kk'"):
        Example.read({"kk": 1}, "recipe.toml")
    with pytest.raises(InputError, match="k: .*valid integer.*'many'"):
        Example.read({"k": "many"}, "recipe.toml")


def test_a_recipe_that_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe at"):
        read_recipe(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("k = ")
    with pytest.raises(InputError, match="can't be read"):
        read_recipe(tmp_path / "bad.toml")


def test_seeds_have_streams_of_their_own() -> None:
    assert derive_seed(0, "weights") == 8730110008906084551  # golden: must never change
    assert derive_seed(0, "weights") != derive_seed(1, "weights") != derive_seed(1, "batches")
    before = torch.random.get_rng_state()
    torch.rand(3, generator=generator(0, "weights"))
    assert torch.equal(before, torch.random.get_rng_state())
