"""Gated autoencoders against their formula in dense autograd, float64, with frozen copies as in the paper."""

import pytest
import torch

from lexiscope.saes import Batch, TrainingState, gated

D, F = 12, 20


@pytest.fixture(
    params=[("l1", "frozen"), ("decoder_norm", "frozen"), ("l1", "learns"), ("decoder_norm", "learns")], ids=str
)
def sae(request, sample_TD):
    """In training, away from its symmetric start: some latents whose gate is open have no magnitude."""
    penalty, gate_decoder = request.param
    config = gated.Config(num_latents=F, penalty=penalty, gate_decoder=gate_decoder, l1_coefficient=0.7)
    sae = gated.Gated.from_sample(config, Batch.same(sample_TD)).double().train()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=rng))
        sae.b_enc_F.copy_(torch.randn(F, generator=rng))
        sae.activation.r_mag_F.copy_(0.3 * torch.randn(F, generator=rng))
        sae.activation.b_mag_F.copy_(torch.randn(F, generator=rng))
        if penalty == "decoder_norm":
            sae.W_dec_FD.mul_(torch.rand(F, 1, generator=rng) + 0.5)
    return sae


def paths(sae, x_TD):
    """Gates and magnitudes, dense."""
    linear_TF = (x_TD - sae.b_dec_D) @ sae.W_enc_FD.T
    magnitude_TF = linear_TF * sae.activation.r_mag_F.exp() + sae.activation.b_mag_F
    return linear_TF + sae.b_enc_F, magnitude_TF


def test_each_term_is_its_formula_and_so_is_every_gradient(sae, sample_TD, same_terms_and_gradients):
    x_TD = sample_TD[:30].double()
    gate_TF, magnitude_TF = paths(sae, x_TD)
    f_TF = (gate_TF > 0) * magnitude_TF.relu()
    decoder_FD = sae.W_dec_FD.detach() if sae.config.gate_decoder == "frozen" else sae.W_dec_FD
    by_gates_TD = gate_TF.relu() @ decoder_FD + sae.b_dec_D.detach()
    costs_F = sae.W_dec_FD.norm(dim=1) if sae.config.penalty == "decoder_norm" else torch.ones(F).double()
    expected = {
        "reconstruction": (x_TD - f_TF @ sae.W_dec_FD - sae.b_dec_D).square().mean(),
        "sparsity": 0.6 * 0.7 * (gate_TF.relu() * costs_F).sum() / x_TD.numel(),
        "gate": (x_TD - by_gates_TD).square().mean(),
    }
    codes = sae.encode(x_TD)
    state = TrainingState(torch.zeros(F, dtype=torch.bool), sparsity_scale=0.6)
    assert (codes.values == 0).any()
    torch.testing.assert_close(codes.dense(), f_TF)
    same_terms_and_gradients(sae, sae.losses(Batch.same(x_TD), codes, sae.decode(codes), state), expected)


def test_magnitudes_and_a_frozen_decoder_learn_nothing_from_the_gate(sae, sample_TD):
    x_TD = sample_TD[:30].double()
    codes = sae.encode(x_TD)
    terms = sae.losses(Batch.same(x_TD), codes, sae.decode(codes), TrainingState(torch.zeros(F, dtype=torch.bool)))
    parameters = [sae.W_dec_FD, sae.activation.r_mag_F, sae.activation.b_mag_F]
    to_decoder = torch.autograd.grad(terms["gate"], parameters, allow_unused=True, retain_graph=True)[0]
    assert (to_decoder is None) == (sae.config.gate_decoder == "frozen")
    grads = torch.autograd.grad(terms["gate"], parameters[1:], allow_unused=True)
    assert all(grad is None or not grad.any() for grad in grads)


def test_in_use_only_what_fires_is_there(sae, sample_TD):
    gate_TF, magnitude_TF = paths(sae, sample_TD.double())
    codes = sae.eval().encode(sample_TD.double())
    assert (codes.values > 0).all()
    torch.testing.assert_close(codes.dense(), (gate_TF > 0) * magnitude_TF.relu())


@pytest.mark.parametrize("l0", [0.5, 6.25, 15.0])
def test_calibrating_moves_the_gates_and_no_magnitude(sae, sample_TD, l0):
    """Open gates are as many as asked for, also where a bias has to rise; what fires both before and after is equal."""
    x_TD = sample_TD.double()
    sae.activation.b_mag_F.data.fill_(50)
    before = sae.eval().encode(x_TD).dense()
    sae.calibrate(x_TD, l0)
    codes = sae.encode(x_TD)
    assert len(codes) == round(l0 * len(x_TD))
    both = (before != 0) & (codes.dense() != 0)
    torch.testing.assert_close(codes.dense()[both], before[both])


def test_it_starts_with_the_l0_asked_for(sample_TD):
    """Counted in open gates; never more than a quarter of the latents."""
    for l0, expected in ((1.5, 1.5), (100, F / 4)):
        sae = gated.Gated.from_sample(gated.Config(num_latents=F), Batch.same(sample_TD))
        sae.start(sample_TD, l0)
        assert (paths(sae, sample_TD)[0] > 0).sum() == expected * len(sample_TD)


def test_only_the_plain_penalty_holds_rows_at_unit_length(sae):
    assert sae.unit_rows == ((sae.W_dec_FD,) if sae.config.penalty == "l1" else ())
