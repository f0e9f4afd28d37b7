"""Oracle: the definition, mean of ‖z‖² = D about zero."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.train.normalise import fit


@pytest.mark.parametrize("how", ["centre", "scale"])
def test_mean_square_norm_is_the_width(world, how):
    before_TD = world.x_TD.clone()
    normal_TD = fit(world.x_TD, how)(world.x_TD)
    assert normal_TD.square().sum(1).mean().item() == pytest.approx(24, rel=1e-4)
    assert (normal_TD.mean(0).norm().item() < 1e-3) == (how == "centre")
    assert torch.equal(world.x_TD, before_TD)


@pytest.mark.parametrize("bad", [torch.ones(5, 3), torch.full((5, 3), float("nan")), torch.full((5, 3), float("inf"))])
def test_activations_without_variance_or_sense_are_refused(bad):
    with pytest.raises(InputError, match="all the same or not finite"):
        fit(bad, "centre")


def test_none_leaves_activations_as_they_are(world):
    assert torch.equal(fit(world.x_TD, "none")(world.x_TD), world.x_TD)


def test_hook_points_side_by_side_are_scaled_each_for_itself(world):
    both_TD = torch.cat([world.x_TD, 100 * world.x_TD[:, :5]], dim=1)
    normal_TD = fit(both_TD, "centre", [24, 5])(both_TD)
    assert normal_TD[:, :24].square().mean().item() == pytest.approx(1, rel=1e-4)
    assert normal_TD[:, 24:].square().mean().item() == pytest.approx(1, rel=1e-4)
