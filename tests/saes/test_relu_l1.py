"""ReLU + L1 against its formula, written with loops over tokens and dense autograd in float64."""

import pytest
import torch

from lexiscope.saes import Batch, TrainingState, relu_l1

D, F = 12, 20


@pytest.fixture(params=["l1", "decoder_norm"])
def sae(request, sample_TD):
    config = relu_l1.Config(num_latents=F, penalty=request.param, l1_coefficient=0.7)
    sae = relu_l1.ReluL1.from_sample(config, Batch.same(sample_TD)).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=rng))
        sae.b_enc_F.add_(torch.randn(F, generator=rng))
        if request.param == "decoder_norm":
            sae.W_dec_FD.mul_(torch.rand(F, 1, generator=rng) + 0.5)
    return sae


def test_the_loss_is_the_formula_and_so_is_every_gradient(sae, sample_TD):
    """(‖x - x̂‖² + λ Σ f) / D, or with f ‖W_dec‖, mean over tokens, at 60 % of the sparsity warm-up."""
    x_TD = sample_TD[:30].double()
    codes = sae.encode(x_TD)
    state = TrainingState(torch.zeros(F, dtype=torch.bool), sparsity_scale=0.6)
    terms = sae.losses(Batch(x_TD, x_TD), codes, sae.decode(codes), state)

    error, penalty = 0.0, 0.0
    for x_D in x_TD:
        f_F = (sae.W_enc_FD @ (x_D - sae.b_dec_D) + sae.b_enc_F).relu()
        error = error + (x_D - sae.b_dec_D - f_F @ sae.W_dec_FD).square().sum()
        costs_F = f_F * sae.W_dec_FD.norm(dim=1) if sae.config.penalty == "decoder_norm" else f_F
        penalty = penalty + 0.6 * 0.7 * costs_F.sum()
    expected = {"reconstruction": error / len(x_TD) / D, "sparsity": penalty / len(x_TD) / D}

    assert set(terms) == set(expected)
    for term, value in terms.items():
        torch.testing.assert_close(value, expected[term])
        for parameter in sae.parameters():
            ours, reference = (
                torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)[0]
                for loss in (value, expected[term])
            )
            if ours is None and reference is None:
                continue
            torch.testing.assert_close(ours, reference)


def test_p_annealing_keeps_the_value_of_l1_and_changes_its_gradient(sample_TD):
    """Half-way p is (1 + p_end) / 2. Oracle: the formula and its derivative, entry by entry, with κ a constant."""
    config = relu_l1.Config(num_latents=F, l1_coefficient=0.7, p_end=0.2)
    sae = relu_l1.ReluL1.from_sample(config, Batch.same(sample_TD)).double()
    x_TD = sample_TD[:30].double()
    codes = sae.encode(x_TD)
    values = codes.values.detach()

    def sparsity(progress):
        state = TrainingState(torch.zeros(F, dtype=torch.bool), progress=progress)
        return sae.losses(Batch.same(x_TD), codes, sae.decode(codes), state)["sparsity"]

    for progress, p in ((0.0, 1.0), (0.2, 1.0), (0.5, 0.6), (0.8, 0.2), (1.0, 0.2)):
        power = sum((value + 0.01) ** p - 0.01**p for value in values.tolist())
        scale = values.sum().item() / power
        torch.testing.assert_close(sparsity(progress), 0.7 * values.sum() / x_TD.numel())
        (slope,) = torch.autograd.grad(sparsity(progress), codes.values)
        torch.testing.assert_close(slope, 0.7 * scale * p * (values + 0.01) ** (p - 1) / x_TD.numel())


@pytest.mark.parametrize("l0", [0.5, 3.25, 18.0])
def test_it_starts_with_the_l0_asked_for_and_is_never_calibrated(sae, sample_TD, l0):
    x_TD = sample_TD.double()
    sae.start(x_TD, l0)
    before = sae.encode(x_TD)
    assert len(before) == round(min(l0, F / 4) * len(x_TD))
    sae.calibrate(x_TD, 2.0)
    assert torch.equal(sae.encode(x_TD).dense(), before.dense())


def test_only_the_plain_penalty_holds_rows_at_unit_length(sae):
    assert sae.unit_rows == ((sae.W_dec_FD,) if sae.config.penalty == "l1" else ())
