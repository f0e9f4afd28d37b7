"""Fidelity against one pass over everything in float64; the check catches weights that are not what was trained."""

import pytest
import torch

from lexiscope.core.errors import SelfCheckError, TrainingError
from lexiscope.saes import create, topk
from lexiscope.train.check import Fidelity, check_saved, fidelity


@pytest.fixture
def sae(world):
    return create(topk.Config(num_latents=48, k=3), world.x_TD[:2000])


@pytest.mark.parametrize("batch_tokens", [1, 7, 500])
def test_batch_size_moves_no_number(sae, world, batch_tokens):
    x_TD = world.x_TD[:500]
    l0, fvu = fidelity(sae, x_TD.split(batch_tokens))
    exact_TD = x_TD.double()
    error = (exact_TD - sae(x_TD).double()).square().sum()
    assert l0 == (sae.encode(x_TD).dense() != 0).sum().item() / 500
    assert fvu == pytest.approx((error / (exact_TD - exact_TD.mean(0)).square().sum()).item(), rel=1e-6)


def test_the_same_weights_pass(sae, world, tmp_path):
    batches = [world.x_TD[:500]]
    sae.write_weights(tmp_path)
    assert check_saved(tmp_path, sae, fidelity(sae, batches), batches) == fidelity(sae, batches)


@pytest.mark.parametrize("damage", ["b_enc_F", "b_dec_D", "W_dec_FD"])
def test_other_weights_do_not(sae, world, tmp_path, damage):
    batches = [world.x_TD[:500]]
    expected = fidelity(sae, batches)
    with torch.no_grad():
        sae.get_parameter(damage).add_(0.5)
    sae.write_weights(tmp_path)
    with pytest.raises(SelfCheckError, match="it was not saved"):
        check_saved(tmp_path, sae, expected, batches)


def test_weights_that_are_not_numbers_do_not(sae, world, tmp_path):
    batches = [world.x_TD[:500]]
    expected = fidelity(sae, batches)
    with torch.no_grad():
        sae.b_dec_D.fill_(float("nan"))
    sae.write_weights(tmp_path)
    with pytest.raises(SelfCheckError):
        check_saved(tmp_path, sae, expected, batches)


def test_a_run_that_came_to_nothing_is_no_bug_of_the_saving(sae, world, tmp_path):
    with pytest.raises(TrainingError, match="its FVU on held-out activations is nan; lower lr"):
        check_saved(tmp_path, sae, Fidelity(3.0, float("nan")), [world.x_TD[:500]])
