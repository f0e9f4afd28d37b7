"""Oracle: the definition, mean of ‖z‖² = D about zero."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.train.normalise import Normaliser


@pytest.mark.parametrize("centre", [True, False])
def test_mean_square_norm_is_the_width(world, centre):
    before_TD = world.x_TD.clone()
    normal_TD = Normaliser.fit(world.x_TD, centre=centre)(world.x_TD)
    assert normal_TD.square().sum(1).mean().item() == pytest.approx(24, rel=1e-4)
    assert (normal_TD.mean(0).norm().item() < 1e-3) == centre
    assert torch.equal(world.x_TD, before_TD)


@pytest.mark.parametrize("bad", [torch.ones(5, 3), torch.full((5, 3), float("nan")), torch.full((5, 3), float("inf"))])
def test_activations_without_variance_or_sense_are_refused(bad):
    with pytest.raises(InputError, match="all the same or not finite"):
        Normaliser.fit(bad, centre=True)
