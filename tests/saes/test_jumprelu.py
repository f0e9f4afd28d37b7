"""JumpReLU against its formulas, pair by pair of token and latent in plain Python, in float64.

A jump has no gradient to compare with, so the straight-through gradient is checked three ways: against the formula for
every pair; against finite differences of the count smoothed by the kernel, whose derivative it is; and against finite
differences of the true mean loss over many activations, which it has to estimate.
"""

import math

import pytest
import torch

from lexiscope.saes import Batch, TrainingState, jumprelu

D, F, T = 12, 20, 30
WIDTH = 1.5
"""ε of these tests."""


@pytest.fixture(params=[("l0", 1), ("tanh", 1), ("l0", 0.5), ("tanh", 0.3)], ids=str)
def sae(request, sample_TD):
    penalty, share = request.param
    config = jumprelu.Config(
        num_latents=F,
        penalty=penalty,
        coefficient=0.7,
        bandwidth=WIDTH,
        below_share=share,
        pre_activation_coefficient=0.01,
    )
    sae = jumprelu.JumpReLU.from_sample(config, Batch.same(sample_TD)).double().train()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=rng))
        sae.b_enc_F.copy_(torch.randn(F, generator=rng))
        sae.activation.threshold_F.copy_(2 * torch.rand(F, generator=rng) + 0.1)
    return sae


@pytest.fixture
def x_TD(sample_TD):
    return sample_TD[:T].double()


STATE = TrainingState(torch.arange(F) % 3 == 0, sparsity_scale=0.6)


def run(sae, x_TD):
    codes = sae.encode(x_TD)
    return codes, sae.losses(Batch.same(x_TD), codes, sae.decode(codes), STATE)


def scores_of(sae, x_TD):
    return (x_TD - sae.b_dec_D) @ sae.W_enc_FD.T + sae.b_enc_F


def differentiable(sae, x_TD):
    """The terms in dense autograd, jumps being constants: right for every parameter but the thresholds."""
    scores_TF, threshold_F = scores_of(sae, x_TD), sae.activation.threshold_F.detach()
    f_TF = scores_TF * (scores_TF > threshold_F)
    costs_TF = (4 * f_TF).tanh() if sae.config.penalty == "tanh" else (f_TF > 0).double()
    shortfall = (sae.activation.threshold_F - scores_TF).relu()[:, STATE.dead_F]
    return f_TF, {
        "reconstruction": (x_TD - f_TF @ sae.W_dec_FD - sae.b_dec_D).square().mean(),
        "sparsity": 0.6 * 0.7 * costs_TF.sum() / x_TD.numel(),
        "pre_activation": 0.01 * shortfall.sum() / x_TD.numel(),
    }


def test_values_and_all_gradients_but_those_of_thresholds(sae, x_TD, same_terms_and_gradients):
    f_TF, expected = differentiable(sae, x_TD)
    codes, terms = run(sae, x_TD)
    torch.testing.assert_close(codes.dense(), f_TF)
    for name in ("reconstruction", "sparsity"):
        sae.activation.threshold_F.requires_grad_(False)
        if terms[name].requires_grad and expected[name].requires_grad:
            others = [parameter for parameter in sae.parameters() if parameter.requires_grad]
            for ours, reference in zip(
                torch.autograd.grad(terms[name], others, retain_graph=True, allow_unused=True),
                torch.autograd.grad(expected[name], others, retain_graph=True, allow_unused=True),
                strict=True,
            ):
                assert (ours is None) == (reference is None)
                if ours is not None:
                    torch.testing.assert_close(ours, reference)
        torch.testing.assert_close(terms[name], expected[name])
        sae.activation.threshold_F.requires_grad_(True)
    same_terms_and_gradients(
        sae, {"pre_activation": terms["pre_activation"]}, {"pre_activation": expected["pre_activation"]}
    )


def test_the_gradient_of_thresholds_pair_by_pair(sae, x_TD):
    """∂f/∂θ = -θ/ε and ∂H/∂θ = -1/ε for each pair within ε/2, of either side; ∂L/∂f by hand.

    With a share, pairs below from the first tokens only, as often as these go into all.
    """
    first = math.ceil(sae.config.below_share * T)
    _, terms = run(sae, x_TD)
    threshold_F = sae.activation.threshold_F
    scores_TF = scores_of(sae, x_TD)
    error_TD = (scores_TF * (scores_TF > threshold_F)) @ sae.W_dec_FD + sae.b_dec_D - x_TD
    expected = {"reconstruction": torch.zeros(F).double(), "sparsity": torch.zeros(F).double()}
    sides = {True: 0, False: 0}
    for t in range(T):
        for f in range(F):
            score, threshold = scores_TF[t, f].item(), threshold_F[f].item()
            if abs(score - threshold) >= WIDTH / 2:
                continue
            fires = score > threshold
            if not fires and t >= first:
                continue
            sides[fires] += 1
            times = 1 if fires else T / first
            d_f = -times * threshold / WIDTH
            expected["reconstruction"][f] += d_f * (2 * error_TD[t] @ sae.W_dec_FD[f]).item() / x_TD.numel()
            if sae.config.penalty == "l0":
                expected["sparsity"][f] += 0.6 * 0.7 * (-times / WIDTH) / x_TD.numel()
            else:
                value = torch.tensor(score if fires else 0.0)
                expected["sparsity"][f] += 0.6 * 0.7 * d_f * 4 * (1 - (4 * value).tanh().item() ** 2) / x_TD.numel()
    assert min(sides.values()) > 10
    for name, gradient in expected.items():
        (ours,) = torch.autograd.grad(terms[name], threshold_F, retain_graph=True)
        torch.testing.assert_close(ours, gradient)


def test_the_gradient_of_the_count_is_that_of_the_count_smoothed_by_the_kernel(sample_TD):
    """Finite differences of Σ clamp((z - θ) / ε + 1/2, 0, 1). Peers that judge pairs after the jump get 0.47 of it."""
    config = jumprelu.Config(num_latents=F, coefficient=1.0, bandwidth=WIDTH, below_share=1)
    sae = jumprelu.JumpReLU.from_sample(config, Batch.same(sample_TD)).double().train()
    x_TD = sample_TD.double()
    codes, terms = run(sae, x_TD)
    (ours,) = torch.autograd.grad(terms["sparsity"], sae.activation.threshold_F)
    scores_TF = scores_of(sae, x_TD).detach()

    def smoothed(threshold_F):
        return 0.6 * ((scores_TF - threshold_F) / WIDTH + 0.5).clamp(0, 1).sum() / x_TD.numel()

    threshold_F = sae.activation.threshold_F.detach()
    for f in range(F):
        step = torch.zeros(F).double()
        step[f] = 1e-7
        slope = (smoothed(threshold_F + step) - smoothed(threshold_F - step)) / 2e-7
        torch.testing.assert_close(ours[f], slope, rtol=1e-5, atol=1e-9)
    assert (codes.values == 0).any()


def test_the_estimate_is_the_derivative_of_the_true_mean_loss():
    """One latent, a hundred thousand activations: finite differences of the mean loss itself, jumps and all.

    Both sides of the threshold are needed: the error is quadratic in f, so its rise from f = 0 to f = θ is the mean of
    the slopes at both ends, times θ. Pairs above the threshold alone give a sixth of the reconstruction here.
    """
    x_TD = torch.linspace(-1, 3, 100_001, dtype=torch.float64)[:, None]
    sae = (
        jumprelu.JumpReLU(jumprelu.Config(num_latents=1, bandwidth=0.02, below_share=1, coefficient=0.3), 1)
        .double()
        .train()
    )
    sae.W_enc_FD.data.fill_(1.0)
    sae.W_dec_FD.data.fill_(0.8)
    sae.b_dec_D.data.fill_(-0.2)

    def mean_loss(threshold):
        f_TF = (x_TD + 0.2) * (x_TD + 0.2 > threshold)
        return ((x_TD + 0.2 - 0.8 * f_TF).square() + 0.3 * (f_TF > 0)).mean()

    for threshold in (0.3, 0.9, 1.7):
        sae.activation.threshold_F.data.fill_(threshold)
        codes = sae.encode(x_TD)
        terms = sae.losses(Batch.same(x_TD), codes, sae.decode(codes), TrainingState(torch.zeros(1, dtype=torch.bool)))
        (ours,) = torch.autograd.grad(sum(terms.values()), sae.activation.threshold_F)
        slope = (mean_loss(threshold + 0.01) - mean_loss(threshold - 0.01)) / 0.02
        torch.testing.assert_close(ours[0], slope, rtol=0.01, atol=1e-4)


def test_in_use_there_are_no_entries_of_value_zero(sae, x_TD):
    scores_TF = scores_of(sae, x_TD)
    codes = sae.eval().encode(x_TD)
    assert (codes.values != 0).all()
    torch.testing.assert_close(codes.dense(), scores_TF * (scores_TF > sae.activation.threshold_F))


@pytest.mark.parametrize("l0", [0.5, 3.25, 8.0])
def test_calibrated_l0_is_exact_and_thresholds_keep_their_ratios(sae, sample_TD, l0):
    x_TD = sample_TD.double()
    before_F = sae.activation.threshold_F.detach().clone()
    sae.calibrate(x_TD, l0)
    assert len(sae.eval().encode(x_TD)) == round(l0 * len(x_TD))
    ratios_F = sae.activation.threshold_F / before_F
    torch.testing.assert_close(ratios_F, ratios_F.mean().expand(F))


def test_thresholds_stay_above_zero(sae, x_TD):
    sae.activation.threshold_F.data[3] = -0.2
    sae.after_step(sae.encode(x_TD).fired())
    assert sae.activation.threshold_F.min() > 0


def test_it_starts_with_the_l0_asked_for(sample_TD):
    """One threshold for all; never more than a quarter of the latents."""
    for l0, expected in ((1.5, 1.5), (100, F / 4)):
        sae = jumprelu.JumpReLU.from_sample(jumprelu.Config(num_latents=F), Batch.same(sample_TD)).eval()
        sae.start(sample_TD, l0)
        assert len(sae.encode(sample_TD)) == expected * len(sample_TD)
        assert sae.activation.threshold_F.unique().numel() == 1


def test_steering_closes_a_gap_in_l0(sae, sample_TD):
    """By one factor, and fast: L0 is within 2 % of the target after 60 steps in which nothing else moves."""
    x_TD = sample_TD.double()
    before_F = sae.activation.threshold_F.detach().clone()
    for _ in range(60):
        sae.steer(math.log(len(sae.encode(x_TD).fired()) / len(x_TD) / 3))
    assert len(sae.eval().encode(x_TD)) / len(x_TD) == pytest.approx(3, rel=0.02)
    ratios_F = sae.activation.threshold_F / before_F
    torch.testing.assert_close(ratios_F, ratios_F.mean().expand(F))
