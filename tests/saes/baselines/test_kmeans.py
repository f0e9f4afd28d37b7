"""k-means on the sphere against loops over tokens, planted clusters and the sum that both of its steps must lower."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import create, kmeans


@pytest.fixture
def planted(rng):
    """Six directions, every token along one of them with its own strength, and the mean of all at zero."""
    true_GD = torch.nn.functional.normalize(torch.randn(3, 16, generator=rng), dim=1)
    true_GD = torch.cat([true_GD, -true_GD])
    member_T = torch.arange(600) % 6
    strength_T1 = 1 + 4 * torch.rand(300, 1, generator=rng).repeat_interleave(2, 0)[:600]
    x_TD = strength_T1 * true_GD[member_T]
    return true_GD, member_T, x_TD - x_TD.mean(0)


def test_planted_directions_are_found(planted):
    true_GD, member_T, x_TD = planted
    sae = create(kmeans.Config(num_latents=18), x_TD)
    cosines = true_GD @ sae.centres_FD.T
    assert (cosines.amax(1) > 0.99).all()
    codes = sae.encode(x_TD)
    assert codes.counts().tolist() == [1] * len(x_TD)
    assert torch.equal(cosines.argmax(0)[codes.latents], member_T)


def test_codes_are_the_nearest_direction_and_its_projection(sample_TD):
    """Oracle: a loop over tokens and latents."""
    sae = create(kmeans.Config(num_latents=20), sample_TD)
    codes = sae.encode(sample_TD)
    for row in range(0, 400, 40):
        products = [float(torch.dot(sample_TD[row] - sae.mean_D, c_D)) for c_D in sae.centres_FD]
        best = max(range(20), key=products.__getitem__)
        latents, values = codes.row(row)
        assert latents.tolist() == [best]
        assert abs(values.item() - products[best]) < 1e-4


def test_every_round_explains_more(sample_TD):
    errors = []
    for rounds in (1, 2, 4, 8, 16):
        sae = create(kmeans.Config(num_latents=24, max_steps=rounds), sample_TD)
        errors.append((sample_TD - sae(sample_TD)).square().sum().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.95 * errors[0]


def test_a_fixed_point_is_reached(sample_TD):
    """Oracle: the formula for a direction, applied once more to what the fit left."""
    sae = create(kmeans.Config(num_latents=8, max_steps=1000, tolerance=1e-9), sample_TD)
    centred_TD = sample_TD - sae.mean_D
    codes = sae.encode(sample_TD)
    for latent in range(8):
        mine = codes.tokens()[codes.latents == latent]
        sum_D = sum((torch.dot(centred_TD[t], sae.centres_FD[latent]) * centred_TD[t] for t in mine), torch.zeros(12))
        torch.testing.assert_close(sum_D / sum_D.norm(), sae.centres_FD[latent], rtol=1e-3, atol=1e-3)


def test_nobody_stays_alone(planted):
    """Planted: more directions than needed, started on top of each other. All of them serve some token at the end."""
    _, _, x_TD = planted
    x_TD = x_TD + 0.05 * torch.randn(x_TD.shape, generator=torch.Generator().manual_seed(1))
    sae = create(kmeans.Config(num_latents=40), x_TD)
    assert (sae.encode(x_TD).firings() > 0).all()


def test_more_latents_than_activations_are_refused(sample_TD):
    with pytest.raises(InputError, match="k-means with 401 latents needs as many activations, but there are 400"):
        create(kmeans.Config(num_latents=401), sample_TD)
