"""First directions against covariances computed from the definition."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, create, read_config, topk, transcoder
from lexiscope.saes.initialise import initial_directions, principal_subspace, spectrum, whitening
from lexiscope.saes.parts import random_directions


@pytest.fixture
def flat_TD(rng):
    """Activations in a 3-dimensional subspace of 10 dimensions, but for one part in a million, about an offset."""
    axes = torch.linalg.qr(torch.randn(10, 3, generator=rng)).Q.T
    x_TD = torch.randn(500, 3, generator=rng) * torch.tensor([3.0, 2.0, 1.0]) @ axes
    return x_TD + 1e-3 * torch.randn(500, 10, generator=rng) + 5, axes


@pytest.mark.parametrize("init", ["random", "balanced", "subspace", "data"])
def test_rows_are_unit_and_of_the_seed(init, sample_TD):
    rows = initial_directions(init, sample_TD, 30, seed=4)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(30))
    assert torch.equal(rows, initial_directions(init, sample_TD, 30, seed=4))
    assert not torch.equal(rows, initial_directions(init, sample_TD, 30, seed=5))


def test_the_subspace_is_the_smallest_with_the_share(flat_TD):
    x_TD, axes = flat_TD
    for share, size in ((0.5, 1), (0.9, 2), (0.99, 3), (1.0, 10)):
        assert len(principal_subspace(spectrum(x_TD), share)) == size
    rows = initial_directions("subspace", x_TD, 40)
    torch.testing.assert_close(rows @ axes.T @ axes, rows, rtol=1e-2, atol=1e-2)
    outside = initial_directions("random", x_TD, 40)
    assert (outside - outside @ axes.T @ axes).norm(dim=1).mean() > 0.5


def test_shares_are_those_of_singular_values(sample_TD):
    """Oracle: the singular values of the centred sample."""
    squares = torch.linalg.svdvals((sample_TD - sample_TD.mean(0)).double()).square()
    for size in (1, 4, 8):
        share = float(squares[:size].sum() / squares.sum())
        assert len(principal_subspace(spectrum(sample_TD), share - 1e-6)) == size
        assert len(principal_subspace(spectrum(sample_TD), share + 1e-6)) == size + 1


def test_balanced_scores_owe_the_same_to_every_principal_direction_above_the_median(sample_TD):
    """Oracle: variance of the part of each score along each singular vector, averaged over latents."""
    rows = initial_directions("balanced", sample_TD, 20_000).double()
    centred_TD = (sample_TD - sample_TD.mean(0)).double()
    _, sizes_D, axes_DD = torch.linalg.svd(centred_TD, full_matrices=False)
    parts_D = ((rows @ axes_DD.T) * sizes_D).square().mean(0)
    large, small = parts_D[:6], parts_D[7:]
    assert large.max() / large.min() < 1.2  # not 1: rows are scaled to length 1 afterwards
    assert (small < large.min()).all()


def test_an_outlier_dimension_does_not_decide(rng):
    """Planted: one coordinate 100 times the others. It picks among random latents, and not among balanced ones."""
    x_TD = torch.randn(2000, 16, generator=rng)
    x_TD[:, 3] *= 100
    used = {}
    for init in ("random", "balanced"):
        sae = create(topk.Config(num_latents=400, k=2, init=init), x_TD)
        used[init] = (sae.encode(x_TD).firings() > 0).float().mean().item()
    assert used["random"] < 0.5
    assert used["balanced"] > 0.9


def test_whitening_of_white_activations_is_a_scale(rng):
    x_TD = torch.linalg.qr(torch.randn(200, 8, generator=rng, dtype=torch.float64)).Q
    x_TD = x_TD - x_TD.mean(0)
    white_DD = whitening(spectrum(torch.linalg.qr(x_TD).Q))
    torch.testing.assert_close(white_DD, torch.eye(8) * white_DD[0, 0], rtol=1e-4, atol=1e-4)


def test_data_points_are_near_distinct_tokens(sample_TD):
    rows = initial_directions("data", sample_TD, 100)
    tokens = torch.nn.functional.normalize(sample_TD - sample_TD.mean(0), dim=1)
    nearest = (rows @ tokens.T).max(1)
    assert (nearest.values > 0.9).all()
    assert len(nearest.indices.unique()) > 90


def test_more_latents_than_tokens_take_tokens_again_without_being_equal(sample_TD):
    rows = initial_directions("data", sample_TD, 1000)
    assert len(rows.unique(dim=0)) == 1000


def test_a_dictionary_starts_as_it_was_told(sample_TD):
    sae = create(topk.Config(num_latents=20, init="data"), sample_TD, seed=3)
    assert torch.equal(sae.W_dec_FD, initial_directions("data", sample_TD, 20, seed=3))
    assert torch.equal(sae.W_enc_FD, sae.W_dec_FD)
    assert torch.equal(
        create(topk.Config(num_latents=20, init="random"), sample_TD, seed=3).W_dec_FD,
        random_directions(20, 12, seed=3),
    )


def test_a_transcoder_reads_in_one_space_and_writes_in_the_other(sample_TD):
    """Data points: a latent reads what some token gives and writes what the same token leads to."""
    batch = Batch(sample_TD, sample_TD[:, :5] * 2)
    sae = create(transcoder.Config(num_latents=50, init="data"), batch, seed=1)
    inputs, targets = (torch.nn.functional.normalize(x_TD - x_TD.mean(0), dim=1) for x_TD in batch)
    token_F = (sae.W_enc_FD @ inputs.T).argmax(1)
    assert ((sae.W_dec_FD * targets[token_F]).sum(1) > 0.9).all()


def test_the_share_belongs_to_the_subspace():
    with pytest.raises(InputError, match="init_variance is for init = subspace"):
        read_config({"architecture": "topk", "init": "data", "init_variance": 0.9}, "recipe.toml")
