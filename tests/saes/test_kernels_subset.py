"""A few latents reconstructing a target. Oracle: dense autograd in float64 over torch.topk."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.subset import keep_largest, subset_error

T, D, F = 50, 12, 60


@pytest.fixture(params=["stock", "native"])
def path(request):
    with backend.use(request.param):
        yield request.param


def numbers(dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    x_TD, target_TD, W_enc_FD, W_dec_FD = (torch.randn(n, D, generator=rng).to(dtype) for n in (T, T, F, F))
    weights = [W_enc_FD, torch.randn(F, generator=rng).to(dtype), W_dec_FD]
    return x_TD, target_TD, weights


def oracle(x_TD, target_TD, weights, k):
    W_enc_GD, b_enc_G, W_dec_GD = weights
    scores_TG = (x_TD.double() @ W_enc_GD.T + b_enc_G).relu()
    best = scores_TG.topk(min(k, len(b_enc_G)), dim=1)
    codes_TG = torch.zeros_like(scores_TG).scatter(1, best.indices, best.values)
    return (codes_TG @ W_dec_GD - target_TD.double()).square().sum()


@pytest.mark.parametrize("k", [1, 2, 6, 20, 100])
@pytest.mark.parametrize("latents", [[4], [7, 3, 11], range(0, 60, 2)], ids=len)
def test_the_error_and_its_gradients(path, monkeypatch, latents, k):
    """As lists (k small for the latents at hand) and as blocks, the last of which is not full."""
    monkeypatch.setattr("lexiscope.saes.kernels.subset.SCORES_PER_BLOCK", 16 * len(latents))
    x_TD, target_TD, weights = numbers()
    weights = [weight.detach()[list(latents)] for weight in weights]
    error, *grads = subset_error(x_TD, target_TD, *weights, k)
    weights = [weight.double().requires_grad_() for weight in weights]
    expected = oracle(x_TD, target_TD, weights, k)
    torch.testing.assert_close(error.double(), expected, rtol=1e-5, atol=1e-4)
    for ours, theirs in zip(grads, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-3)


@given(
    rows=st.integers(0, 40),
    width=st.integers(1, 70),
    k=st.integers(1, 80),
    decimals=st.sampled_from([0, 6]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_the_largest_stay(rows, width, k, decimals, seed):
    """As torch.topk finds them; rounded to whole numbers there are many ties, of which any may stay."""
    scores = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).mul(3).round(decimals=decimals)
    expected = scores.relu().topk(min(k, width), dim=1).values
    for name in ("stock", "native"):
        kept = scores.clone()
        with backend.use(name):
            keep_largest(kept, k)
        assert ((kept == 0) | (kept == scores)).all()
        torch.testing.assert_close(kept.topk(min(k, width), dim=1).values, expected, rtol=0, atol=0)
        assert (kept > 0).sum() == (expected > 0).sum()
