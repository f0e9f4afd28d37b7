"""Matching pursuit against a loop over tokens and steps in plain Python, unrolled by dense autograd in float64."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, TrainingState, create, matching_pursuit
from lexiscope.saes.matching_pursuit import pursue
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.trainer import Trainer

D, F, K = 12, 40, 6
PATHS = {"gram": 2**27, "direct": 0}


@pytest.fixture(params=PATHS)
def sae(request, sample_TD, monkeypatch):
    """In float64 with steps enough to take a latent twice, by either search, in several blocks."""
    monkeypatch.setattr(matching_pursuit, "GRAM_CELLS", PATHS[request.param])
    monkeypatch.setattr(matching_pursuit, "SCORES_PER_BLOCK", 7 * F)
    monkeypatch.setattr(matching_pursuit, "BLOCK_CELLS", 11 * K * D)
    return create(matching_pursuit.Config(num_latents=F, k=K), sample_TD, seed=3).double()


def unrolled(sae, x_D):
    """Latents, values and output of one token."""
    residual_D, taken = x_D - sae.b_D, []
    for _ in range(sae.config.k):
        best = max(range(len(sae.W_FD)), key=lambda f: (residual_D @ sae.W_FD[f]).item())
        value = residual_D @ sae.W_FD[best]
        if value <= 0:
            break
        residual_D = residual_D - value * sae.W_FD[best]
        taken.append((best, value))
    return taken, sae.b_D + sum(value * sae.W_FD[f] for f, value in taken)


def test_codes(sae, sample_TD):
    x_TD = sample_TD[:30].double()
    dense_TF, again = sae.encode(x_TD).dense(), 0
    for x_D, row_F in zip(x_TD, dense_TF, strict=True):
        expected_F = torch.zeros(F, dtype=torch.float64)
        taken, _ = unrolled(sae, x_D)
        for f, value in taken:
            again += bool(expected_F[f])
            expected_F[f] += value.detach()
        torch.testing.assert_close(row_F, expected_F)
    assert again, "no token takes a latent twice: the test would not see whether values add up"


def test_reconstruction_and_its_gradient(sae, sample_TD):
    """The weights of the loss differ by token and dimension, so that nothing cancels."""
    x_TD = sample_TD[:30].double()
    codes = sae.encode(x_TD)
    output_TD = sae.decode(codes)
    terms = sae.losses(Batch.same(x_TD), codes, output_TD, TrainingState(torch.zeros(F, dtype=torch.bool)))
    expected_TD = torch.stack([unrolled(sae, x_D)[1] for x_D in x_TD])
    torch.testing.assert_close(output_TD, expected_TD)
    torch.testing.assert_close(terms["reconstruction"], (expected_TD - x_TD).square().mean())
    weights_TD = torch.linspace(-1, 2, x_TD.numel(), dtype=torch.float64).view_as(x_TD)
    grads = [
        torch.autograd.grad((weights_TD * (out - x_TD).square()).sum(), [sae.W_FD, sae.b_D])
        for out in (output_TD, expected_TD)
    ]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradient_reaches_the_input_and_agrees_with_finite_differences(sae, sample_TD):
    """Values alone, without a decoder that would hide an error."""
    x_TD = sample_TD[:5].double().requires_grad_()
    weights_N = torch.linspace(1, 2, len(sae.encode(x_TD)), dtype=torch.float64)

    def total(x_TD):
        return (weights_N * sae.encode(x_TD).values).sum()

    (ours,) = torch.autograd.grad(total(x_TD), x_TD)
    x_TD = x_TD.detach()
    step = 1e-6
    for token, axis in ((0, 0), (2, 5), (4, 11)):
        moved = torch.zeros_like(x_TD)
        moved[token, axis] = step
        slope = (total(x_TD + moved) - total(x_TD - moved)) / (2 * step)
        torch.testing.assert_close(ours[token, axis], slope, rtol=1e-4, atol=1e-6)


def test_a_token_with_nothing_left_stops(sample_TD):
    """Planted: an activation that one latent makes, and one that points away from all."""
    sae = create(matching_pursuit.Config(num_latents=3, k=K), sample_TD)
    with torch.no_grad():
        sae.b_D.zero_()
        sae.W_FD.copy_(torch.eye(3, D))
    x_TD = torch.zeros(3, D)
    x_TD[0, 1], x_TD[1, :3] = 4, -1
    codes = sae.encode(x_TD)
    assert codes.counts().tolist() == [1, 0, 0]
    assert (codes.latents.tolist(), codes.values.tolist()) == ([1], [4])
    torch.testing.assert_close(sae(x_TD)[0], x_TD[0])


def test_both_searches_choose_alike_in_single_precision(rng, monkeypatch):
    """At a size where rounding shows: at most a few ties fall differently."""
    W_FD = torch.nn.functional.normalize(torch.randn(512, 64, generator=rng), dim=1)
    x_TD = torch.randn(300, 64, generator=rng)
    chosen = []
    for cells in PATHS.values():
        monkeypatch.setattr(matching_pursuit, "GRAM_CELLS", cells)
        chosen.append(pursue(x_TD, W_FD, 24).latents_KT)
    assert (chosen[0] == chosen[1]).float().mean() > 0.999


def test_dead_latents_by_auxk_are_refused(sample_TD):
    sae = create(matching_pursuit.Config(num_latents=F), sample_TD)
    config, _ = resolve(TrainConfig(tokens=4000, terms=["auxk"]), sae.config, D)
    with pytest.raises(InputError, match="auxk needs an encoder row for every latent, which matching_pursuit has not"):
        Trainer(sae, config)
