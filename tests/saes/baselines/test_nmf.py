"""NMF against active-set least squares by enumeration, optimality conditions and planted parts."""

from itertools import combinations

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import create, nmf
from lexiscope.saes.baselines.nmf import nonnegative_least_squares


def best_by_enumeration(x_D, parts_FD):
    """The best f ≥ 0 over every choice of parts that are allowed to be above 0."""
    best, least = torch.zeros(len(parts_FD), dtype=torch.float64), float(x_D.square().sum())
    for size in range(1, len(parts_FD) + 1):
        for chosen in combinations(range(len(parts_FD)), size):
            used_SD = parts_FD[list(chosen)]
            f_S = torch.linalg.lstsq(used_SD.T, x_D[:, None]).solution.flatten()
            error = float((x_D - f_S @ used_SD).square().sum())
            if (f_S >= 0).all() and error < least:
                least = error
                best = torch.zeros(len(parts_FD), dtype=torch.float64)
                best[list(chosen)] = f_S
    return best


def test_codes_are_the_best_that_are_not_negative(rng):
    parts_FD = torch.nn.functional.normalize(torch.randn(5, 8, generator=rng, dtype=torch.float64), dim=1)
    x_TD = torch.randn(20, 8, generator=rng, dtype=torch.float64)
    found_TF = nonnegative_least_squares(x_TD @ parts_FD.T, parts_FD @ parts_FD.T, torch.zeros(20, 5).double(), 300)
    expected_TF = torch.stack([best_by_enumeration(x_D, parts_FD) for x_D in x_TD])
    torch.testing.assert_close(found_TF, expected_TF, rtol=1e-5, atol=1e-6)


def test_codes_of_an_autoencoder_fulfil_the_conditions_of_a_minimum(sample_TD):
    """Karush-Kuhn-Tucker: no slope where a part is used, none that could be followed down where it is not."""
    sae = create(nmf.Config(), sample_TD)
    codes_TF = sae.encode(sample_TD).dense()
    slope_TF = (codes_TF @ sae.parts_FD - (sample_TD - sae.mean_D)) @ sae.parts_FD.T
    scale = sample_TD.std().item()
    assert (codes_TF >= 0).all()
    assert (slope_TF[codes_TF > 0.05 * scale].abs() < 0.02 * scale).all()
    assert (slope_TF[codes_TF == 0] > -0.02 * scale).all()


def test_planted_parts_are_found(rng):
    """Parts on disjoint coordinates, two or so in each token: what NMF can't miss."""
    parts_GD = torch.zeros(4, 12)
    for g in range(4):
        parts_GD[g, 3 * g : 3 * g + 3] = torch.tensor([1.0, 2.0, 0.5])
    x_TD = (torch.rand(500, 4, generator=rng) * (torch.rand(500, 4, generator=rng) < 0.5)) @ parts_GD
    sae = create(nmf.Config(kind="nmf", num_latents=4, rounds=200), x_TD)
    cosines = torch.nn.functional.normalize(parts_GD, dim=1) @ sae.parts_FD.T
    assert (cosines.amax(1) > 0.99).all()
    assert (sae.parts_FD >= 0).all()
    assert sae.mean_D.count_nonzero() == 0
    assert ((x_TD - sae(x_TD)).square().sum() / x_TD.square().sum()) < 0.01


def test_more_rounds_explain_more_and_all_parts_nearly_everything(sample_TD):
    errors = [
        (sample_TD - create(nmf.Config(rounds=rounds), sample_TD)(sample_TD)).square().sum() for rounds in (1, 5, 40)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_k_keeps_the_largest(sample_TD):
    sae = create(nmf.Config(k=3), sample_TD)
    assert sae.encode(sample_TD).counts().amax() <= 3


def test_signed_activations_are_refused_where_parts_may_not_be_signed(sample_TD):
    with pytest.raises(InputError, match="kind nmf needs activations that are never negative"):
        create(nmf.Config(kind="nmf"), sample_TD)
