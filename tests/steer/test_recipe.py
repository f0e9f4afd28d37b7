"""Recipes. Oracle: Python's own reader of TOML, and the values that were written."""

from __future__ import annotations

import tomllib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.steer.interventions import Ablate, Add, Cap, Clamp, Patch, Scale
from lexiscope.steer.recipe import Recipe

FEATURES = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=3, unique=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
STRENGTHS = NUMBERS | st.tuples(
    NUMBERS, st.sampled_from(["max", "mean", "q0.5"]) | st.floats(0, 1).map(lambda quantile: f"q{quantile}")
).map(lambda parts: f"{parts[0]!r}{parts[1]}")
WHERE = st.fixed_dictionaries(
    {},
    optional={
        "positions": st.sampled_from(["-4:", ":", "2:5"]) | st.lists(st.integers(-9, 9), max_size=3),
        "tokens": st.sampled_from(["all", "prompt", "generated"]),
        "rows": st.lists(st.integers(0, 9), max_size=2),
        "special": st.booleans(),
        "share": st.floats(0, 1),
    },
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
EDITS = st.one_of(
    st.builds(lambda where, f, to: Clamp(features=f, to=to, **where), WHERE, FEATURES, STRENGTHS),
    st.builds(lambda where, f, by: Scale(features=f, by=by, **where), WHERE, FEATURES, NUMBERS),
    st.builds(lambda where, f, by: Add(features=f, by=by, **where), WHERE, FEATURES, STRENGTHS),
    st.builds(lambda where, f, to: Cap(features=f, to=to, **where), WHERE, FEATURES, STRENGTHS),
    st.builds(
        lambda where, f, to: Ablate(features=f, to=to, **where), WHERE, FEATURES, st.sampled_from(["zero", "mean"])
    ),
    st.builds(
        lambda where, f, text, seed: Ablate(features=f, to="resample", source=text, seed=seed, **where),
        WHERE,
        FEATURES,
        TEXT,
        st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(
        lambda where, f, text, at: Patch(features=f, source=text, from_position=at, **where),
        WHERE,
        st.none() | FEATURES,
        TEXT,
        st.none() | st.integers(-5, 5),
    ),
)


@settings(max_examples=40)
@given(st.lists(EDITS, max_size=3), st.sampled_from(["keep", "drop"]))
def test_what_is_written_is_read(edits, error):
    recipe = Recipe(tuple(edits), error)
    assert Recipe.of(tomllib.loads(recipe.toml()), "here") == recipe
    assert Recipe.of(recipe.values(), "here") == recipe


def test_a_file(tmp_path):
    path = tmp_path / "edits.toml"
    path.write_text('[[edit]]\ndo = "clamp"\nfeatures = 5\nto = "2max"\n', encoding="utf-8")
    assert Recipe.read(path) == Recipe((Clamp(features=5, to="2max"),))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("edits = 3", "unknown key 'edits'"),
        ('error = "kept"', "error is 'kept'"),
        ("edit = 3", "no list of tables"),
        ('[[edit]]\ndo = "clamp"', "edit 1: clamp: features"),
        ('[[edit]]\ndo = "ablate"\nfeatures = 1\n[[edit]]\ndo = "ablate"\nfeature = 1', "edit 2"),
        ('[[edit]]\ndo = "add"\nfeatures = 1\nby = nan', "not finite"),
        ("[[edit]", "can't be read"),
    ],
)
def test_what_is_no_recipe(tmp_path, text, words):
    path = tmp_path / "edits.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        Recipe.read(path)
    assert words in str(refused.value)
    assert "edits.toml" in str(refused.value)


def test_codes_have_no_place_in_a_recipe():
    codes = SparseCodes.from_dense(torch.eye(3))
    with pytest.raises(InputError, match="give the prompt"):
        Recipe((Patch(source=codes),)).toml()
