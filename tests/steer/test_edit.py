"""Kept changes. Oracles: the same change made by hand with `editing`, and the untouched model, bit for bit."""

from __future__ import annotations

import json
import threading

import pytest
import torch
from tests.steer.conftest import HOOK, dictionary

from lexiscope import saes
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.verify import verify
from lexiscope.steer.edit import Edit, Report, load_edited, save_edit
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, Clamp, Scale
from lexiscope.steer.recipe import Recipe

RECIPE = Recipe((Clamp(features=5, to=3.0), Ablate(features=(6, 7)), Scale(features=8, by=-1)), "keep")
TOKENS = torch.tensor([[5, 9, 12, 7, 20, 11]])


@pytest.fixture
def sae(small, tmp_path):
    dictionary(small, hook=HOOK).save(tmp_path / "run" / "sae", hook=HOOK)
    return saes.load(tmp_path / "run" / "sae")


def kept(small, sae, tmp_path, recipe=RECIPE, **given):
    return save_edit(tmp_path / "run" / "edit", recipe, small, sae, **given)


def test_applied_it_is_the_change_and_removed_it_is_nothing(small, sae, tmp_path):
    report = Report(purpose="less of 6", author="Ada", measured={"effect": [0.5, {"low": 0.25}]})
    edit = kept(small, sae, tmp_path, report=report)
    assert (edit.recipe, edit.report) == (RECIPE, report)
    before = small.logits(TOKENS)
    with editing(small, sae, RECIPE.edits):
        changed = small.logits(TOKENS)
        written = small.generate_tokens(TOKENS, max_new_tokens=5)
    applied = edit.apply(small)
    assert torch.equal(small.logits(TOKENS), changed)
    assert torch.equal(small.generate_tokens(TOKENS, max_new_tokens=5), written)
    assert not torch.equal(changed, before)
    applied.remove()
    applied.remove()
    assert torch.equal(small.logits(TOKENS), before)
    assert all(finding.whole for finding in verify([tmp_path / "run" / "edit"]))


def test_loaded_changed_and_for_every_thread(small, sae, tmp_path, tiny_folder):
    kept(small, sae, tmp_path)
    with editing(small, sae, RECIPE.edits):
        changed = small.logits(TOKENS)
    model, applied = load_edited(tiny_folder("llama"), tmp_path / "run" / "edit")
    found = []
    other = threading.Thread(target=lambda: found.append(model.logits(TOKENS)))
    other.start()
    other.join(timeout=60)
    assert torch.equal(found[0], changed)
    with applied:
        pass
    assert torch.equal(model.logits(TOKENS), small.logits(TOKENS))


def test_the_whole_run_folder_may_move(small, sae, tmp_path):
    kept(small, sae, tmp_path)
    (tmp_path / "run").rename(tmp_path / "moved")
    with Edit.open(tmp_path / "moved" / "edit").apply(small):
        changed = small.logits(TOKENS)
    assert not torch.equal(small.logits(TOKENS), changed)


def test_what_can_not_be_kept(small, sae, tmp_path):
    with pytest.raises(InputError, match="there is no intervention to keep"):
        kept(small, sae, tmp_path, Recipe(()))
    with pytest.raises(InputError, match="clamp to a number, or ablate to zero"):
        kept(small, sae, tmp_path, Recipe((Ablate(features=5, to="mean"),)))
    with pytest.raises(InputError, match="what 2max is, an index of this dictionary says"):
        kept(small, sae, tmp_path, Recipe((Add(features=5, by="2max"),)))
    with pytest.raises(InputError, match="there is no feature 99"):
        kept(small, sae, tmp_path, Recipe((Ablate(features=99),)))
    with pytest.raises(InputError, match="save the dictionary first"):
        save_edit(tmp_path / "edit", RECIPE, small, dictionary(small, hook=HOOK))
    assert not (tmp_path / "run" / "edit").exists()


def test_another_model_or_dictionary(small, sae, tmp_path, tmp_path_factory, tiny):
    edit = kept(small, sae, tmp_path)
    with pytest.raises(InputError, match="give that model"):
        edit.apply(tiny("gpt2"))
    dictionary(small, saes.relu_l1.Config(num_latents=30), hook=HOOK).save(tmp_path / "other", hook=HOOK)
    with pytest.raises(InputError, match="was made with another dictionary"):
        edit.apply(small, saes.load(tmp_path / "other"))
    with pytest.raises(InputError, match="was made with another dictionary"):
        edit.apply(small, dictionary(small, hook=HOOK))
    gone = tmp_path_factory.mktemp("elsewhere") / "sae"
    (tmp_path / "run" / "sae").rename(gone)
    with pytest.raises(InputError, match="is not at .*, nor beside it; give it"):
        edit.apply(small)
    with edit.apply(small, saes.load(gone)):
        pass


@pytest.mark.parametrize("name", ["edit.toml", "report.json"])
def test_a_file_that_was_edited_by_hand(small, sae, tmp_path, name):
    path = kept(small, sae, tmp_path).artifact.path / name
    path.write_bytes(path.read_bytes().swapcase())
    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        Edit.open(path.parent)


def test_a_reviewer_reads_plain_files(small, sae, tmp_path):
    folder = kept(small, sae, tmp_path, report=Report(purpose="test")).artifact.path
    assert (folder / "edit.toml").read_text() == RECIPE.toml()
    assert json.loads((folder / "report.json").read_text())["purpose"] == "test"
