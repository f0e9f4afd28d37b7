"""The constraint of aligned training against dot products one by one, and against a projection found by minimising."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, create, topk, transcoder
from lexiscope.train.terms import alignment

D, F = 12, 30


@pytest.fixture
def sample_TD():
    return torch.randn(300, D, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.5, 3, D)


@pytest.fixture
def sae(sample_TD):
    """Away from its start, with decoder rows of different lengths and one latent turned round."""
    sae = create(topk.Config(num_latents=F, k=4), sample_TD)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.5 * torch.randn(F, D, generator=rng))
        sae.W_dec_FD.mul_(torch.linspace(0.5, 2, F)[:, None])
        sae.W_enc_FD[4] = -sae.W_dec_FD[4]
    return sae


def test_every_latent_reads_what_it_writes(sae):
    decoder = sae.W_dec_FD.clone()
    alignment.Alignment(alignment.Config(), sae).after_step(None)
    for enc_D, dec_D in zip(sae.W_enc_FD, sae.W_dec_FD, strict=True):
        assert sum(a * b for a, b in zip(enc_D.tolist(), dec_D.tolist(), strict=True)) == pytest.approx(1, abs=1e-5)
    assert torch.equal(sae.W_dec_FD, decoder)


def test_the_nearest_row_is_taken(sae):
    """Oracle: the least-norm solution of ⟨w + δ, d⟩ = 1, by least squares."""
    before = sae.W_enc_FD.clone().double()
    alignment.Alignment(alignment.Config(), sae).after_step(None)
    for w_D, enc_D, dec_D in zip(before, sae.W_enc_FD.double(), sae.W_dec_FD.double(), strict=True):
        gap = torch.linalg.lstsq(dec_D[None], (1 - w_D @ dec_D)[None, None], driver="gelsd").solution.flatten()
        torch.testing.assert_close(enc_D, w_D + gap, rtol=1e-4, atol=1e-5)


def test_what_is_aligned_stays(sample_TD):
    sae = create(topk.Config(num_latents=F), sample_TD)
    before = sae.W_enc_FD.clone()
    alignment.Alignment(alignment.Config(), sae).after_step(None)
    torch.testing.assert_close(sae.W_enc_FD, before)


def test_a_row_of_zeros_is_left_alone(sae):
    with torch.no_grad():
        sae.W_dec_FD[2] = 0
    before = sae.W_enc_FD[2].clone()
    alignment.Alignment(alignment.Config(), sae).after_step(None)
    assert torch.equal(sae.W_enc_FD[2], before)


def test_different_places_are_refused(sample_TD):
    sae = create(transcoder.Config(num_latents=F), Batch(sample_TD, sample_TD[:, :5]))
    with pytest.raises(InputError, match="transcoder reads and writes in different places"):
        alignment.Alignment(alignment.Config(), sae)
