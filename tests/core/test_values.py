"""HookPoint, Config and seeds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lexiscope.core.config import Config, read_recipe
from lexiscope.core.errors import MOST_CHARACTERS, InputError
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
    with pytest.raises(InputError, match="recipe.toml: unknown key 'kk'; there are k, name$"):
        Example.read({"kk": 1}, "recipe.toml")
    with pytest.raises(InputError, match="k: .*valid integer.*'many'"):
        Example.read({"k": "many"}, "recipe.toml")


def test_a_recipe_that_is_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe at"):
        read_recipe(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("k = ")
    with pytest.raises(InputError, match="can't be read"):
        read_recipe(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"k = " + b"[" * 5000, "too deep"),
        (b"k = " + b"[" * 40 + b"]" * 40, "too deep"),
        (b"k = 0x" + b"f" * 5000, "more than 64 bits"),
        (b"k = " + b"9" * 5000, "4300 digits"),
        (b"k = 9223372036854775808", "more than 64 bits"),
        (b"k = 1979-05-27", "1979-05-27 is a date"),
        (b"k = '\xff'", "can't decode"),
        (b"#" * (2**20 + 1), "more than 1,048,576 bytes"),
    ],
)
def test_a_recipe_that_no_reader_could_use(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.toml.*{message}"):
        read_recipe(tmp_path / "bad.toml")


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InputError, match="is no file"):
            read_recipe(path)
    with pytest.raises(InputError, match="File name too long"):
        read_recipe(tmp_path / ("x" * 300))


def test_text_is_no_way_around_64_bits() -> None:
    assert Example.read({"k": str(2**63 - 1)}, "flags").k == 2**63 - 1
    with pytest.raises(InputError, match="k has more than 64 bits"):
        Example.read({"k": "1" + "0" * 30}, "flags")


@given(st.text(max_size=60) | st.text(alphabet="\n\x1b\u202e\udc80a", max_size=6000))
def test_a_message_is_one_line_that_any_terminal_can_show(text: str) -> None:
    shown = str(InputError(text))
    assert shown.isprintable()
    shown.encode()
    assert (text.isprintable() and len(text) <= MOST_CHARACTERS) == (shown == text)


def test_a_wrong_value_is_quoted_in_short() -> None:
    with pytest.raises(InputError) as caught:
        Example.read({"k": "x" * 10**6}, "flags")
    assert len(str(caught.value)) < 400


def test_seeds_have_streams_of_their_own() -> None:
    assert derive_seed(0, "weights") == 8730110008906084551  # golden: must never change
    assert derive_seed(0, "weights") != derive_seed(1, "weights") != derive_seed(1, "batches")
    before = torch.random.get_rng_state()
    torch.rand(3, generator=generator(0, "weights"))
    assert torch.equal(before, torch.random.get_rng_state())
