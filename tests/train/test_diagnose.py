"""What is planted in activations is named before the first step. Oracle for the figures: numpy, row by row."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import topk
from lexiscope.train import diagnose
from lexiscope.train.config import TrainConfig
from lexiscope.train.diagnose import ActivationWarning, check, look
from lexiscope.train.run import train

HOOK = HookPoint.parse("resid_post.0")
SETTINGS = TrainConfig(tokens=400, batch_tokens=100, heldout_tokens=300)


@pytest.fixture
def x_TD(world):
    return world.x_TD[:3000].clone()


def test_figures(x_TD):
    x_TD[5:9] = x_TD[0]
    x_TD[17] *= 50
    x_TD[:, 3] = 1.25
    seen = look(x_TD)
    rows = x_TD.double().numpy()
    squares = (rows - rows.mean(0)) ** 2
    assert seen.distinct == len(np.unique(x_TD.numpy(), axis=0)) < 3000
    assert (seen.broken, seen.still) == (0, 1)
    assert seen.rms == pytest.approx(np.sqrt((rows**2).mean()))
    np.testing.assert_allclose(seen.shares_D.numpy(), squares.sum(0) / squares.sum())
    np.testing.assert_allclose(seen.shares_T.numpy(), squares.sum(1) / squares.sum())


def test_it_changes_nothing_and_fits_any_block(x_TD, monkeypatch):
    before, whole = x_TD.clone(), look(x_TD)
    monkeypatch.setattr(diagnose, "_CHUNK_TOKENS", 7)
    for found, other in zip(look(x_TD), whole, strict=True):
        torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(other))
    assert torch.equal(x_TD, before)


def nan(x_TD):
    x_TD[[3, 40], 2] = float("nan")


def infinite(x_TD):
    x_TD[7, 0] = -float("inf")


def zero(x_TD):
    x_TD.zero_()


def constant(x_TD):
    x_TD[:] = x_TD[0].clone()


def denormal(x_TD):
    x_TD.mul_(1e-40)


def huge(x_TD):
    x_TD.mul_(1e25)


ERRORS = {
    nan: "2 of .* are NaN or infinite; harvest again, with the model in float32",
    infinite: "1 of .* are NaN or infinite; harvest again",
    zero: "all are 0, so nothing is written there; choose another hook point",
    constant: "all .* tokens have the same; choose another hook point, or harvest text",
    denormal: "values of about .*e-(39|40) leave what float32 can square; choose another",
    huge: r"values of about .*e\+(25|26) leave what float32 can square",
}


@pytest.mark.parametrize("rows", [slice(None, 2700), slice(2700, None)], ids=["sampled", "held-out"])
@pytest.mark.parametrize("plant", ERRORS, ids=lambda plant: plant.__name__)
def test_what_nothing_can_be_learnt_from_is_refused_before_anything_is_written(x_TD, store, tmp_path, plant, rows):
    plant(x_TD[rows])
    what = "sampled" if rows.start is None else "held-out"
    with pytest.raises(InputError, match=rf"^{what} activations at resid_post\.0: {ERRORS[plant]}"):
        train(type(store)(x_TD), topk.Config(num_latents=32, k=3), SETTINGS, out=tmp_path / "sae")
    assert not list(tmp_path.iterdir())


def repeated(x_TD):
    x_TD[:] = x_TD[torch.arange(len(x_TD)) % 50]


def heavy_tokens(x_TD):
    x_TD[::1500] *= 30


def heavy_dimension(x_TD):
    x_TD[:, 4] *= 60


def still(x_TD):
    x_TD[:, 5:] = 2.0


REMARKS = {
    repeated: "only (48|49|50) of 3,000 are different: the text repeats itself",
    heavy_tokens: "3 of 3,000 tokens hold [5-9][0-9]% of the variance",
    heavy_dimension: r"1 of 24 dimensions hold 9[89]\.[0-9]% of the variance, .*; leave sae.init at balanced",
    still: "19 of 24 dimensions never vary; is it the hook point",
}


@pytest.mark.parametrize("plant", REMARKS, ids=lambda plant: plant.__name__)
def test_what_little_is_learnt_from_is_remarked_upon(x_TD, plant):
    plant(x_TD)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check(x_TD, [HOOK], [24], "sampled")
    assert [warning.category for warning in said] == [ActivationWarning]
    assert re.match(f"sampled activations at resid_post.0: {REMARKS[plant]}", str(said[0].message))


def test_a_remark_comes_with_a_run_and_does_not_stop_it(x_TD, store, tmp_path):
    repeated(x_TD)
    with pytest.warns(ActivationWarning, match="sampled activations at resid_post.0: only"):
        train(type(store)(x_TD), topk.Config(num_latents=32, k=3), SETTINGS, out=tmp_path / "sae")
    assert (tmp_path / "sae").is_dir()


def test_hook_points_side_by_side_are_looked_at_each_for_itself(x_TD):
    both_TD = torch.cat([x_TD, torch.zeros(3000, 5)], dim=1)
    with pytest.raises(InputError, match=r"at mlp_out\.3: all are 0"):
        check(both_TD, [HOOK, HookPoint.parse("mlp_out.3")], [24, 5], "sampled")


def test_few_tokens_are_not_judged_by_shares(x_TD):
    repeated(x_TD)
    check(x_TD[:999], [HOOK], [24], "sampled")


def test_ordinary_activations_are_left_in_peace(x_TD):
    check(x_TD, [HOOK], [24], "sampled")
