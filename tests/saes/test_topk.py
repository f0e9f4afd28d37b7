"""TopK and AuxK, term by term, against loops over tokens in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.saes import Batch, TrainingState, topk

D, F, K = 12, 40, 4


@pytest.fixture
def sae(sample_TD):
    """In float64, away from its symmetric start."""
    sae = topk.TopK.from_sample(topk.Config(num_latents=F, k=K), sample_TD).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=rng))
        sae.b_enc_F.add_(0.1 * torch.randn(F, generator=rng))
    return sae


@pytest.fixture
def x_TD(sample_TD):
    return sample_TD[:30].double()


def state(*dead):
    dead_F = torch.zeros(F, dtype=torch.bool)
    dead_F[list(dead)] = True
    return TrainingState(dead_F)


def gradients(sae, term):
    names = [name for name, _ in sae.named_parameters()]
    grads = torch.autograd.grad(term, list(sae.parameters()), allow_unused=True, retain_graph=True)
    return {
        name: torch.zeros_like(parameter) if grad is None else grad
        for name, parameter, grad in zip(names, sae.parameters(), grads, strict=True)
    }


def tangent(grad_FD, rows_FD):
    """Without the part along each row, one row at a time."""
    return torch.stack([g - (g @ w) * w for g, w in zip(grad_FD, rows_FD, strict=True)])


def run(sae, x_TD, training_state):
    codes = sae.encode(x_TD)
    output_TD = sae.decode(codes)
    return codes, output_TD, sae.losses(Batch(x_TD, x_TD), codes, output_TD, training_state)


def reference_reconstruction(sae, x_TD):
    """Token by token: scores, the k largest that are positive, their rows added up, the squared error."""
    total = 0.0
    for x_D in x_TD:
        scores_F = sae.W_enc_FD @ (x_D - sae.b_dec_D) + sae.b_enc_F
        fired = [f for f in scores_F.argsort(descending=True)[:K].tolist() if scores_F[f] > 0]
        output_D = sae.b_dec_D + sum(scores_F[f] * sae.W_dec_FD[f] for f in fired)
        total = total + (x_D - output_D).square().sum()
    return total / (len(x_TD) * D)


def reference_auxk(sae, x_TD, output_TD, dead, k_aux):
    """Token by token; the error is a list of plain numbers, so nothing can flow into it. Nor into the bias."""
    errors_TD = torch.tensor((x_TD - output_TD).tolist(), dtype=torch.float64)
    mean_D = errors_TD.mean(0)
    above, below = 0.0, 0.0
    for x_D, error_D in zip(x_TD, errors_TD, strict=True):
        scores = {f: sae.W_enc_FD[f] @ (x_D - sae.b_dec_D.detach()) + sae.b_enc_F[f] for f in dead}
        fired = sorted((f for f in dead if scores[f] > 0), key=lambda f: -scores[f].item())[:k_aux]
        guess_D = sum((scores[f] * sae.W_dec_FD[f] for f in fired), torch.zeros(D, dtype=torch.float64))
        above = above + (error_D - guess_D).square().sum()
        below = below + (error_D - mean_D).square().sum()
    return above / below / 32


def test_reconstruction_and_its_gradient(sae, x_TD):
    _, _, terms = run(sae, x_TD, state())
    expected = reference_reconstruction(sae, x_TD)
    assert set(terms) == {"reconstruction"}
    torch.testing.assert_close(terms["reconstruction"], expected)
    ours, reference = gradients(sae, terms["reconstruction"]), gradients(sae, expected)
    reference["W_dec_FD"] = tangent(reference["W_dec_FD"], sae.W_dec_FD.detach())
    for name, grad in ours.items():
        torch.testing.assert_close(grad, reference[name], msg=name)


@pytest.mark.parametrize("dead", [(3, 7), (0, 5, 8, 11, 17, 19, 23, 29, 31, 39)])
def test_auxk_and_its_gradient(sae, x_TD, dead):
    """With fewer and with more dead latents than k_aux = D / 2 = 6."""
    _, output_TD, terms = run(sae, x_TD, state(*dead))
    expected = reference_auxk(sae, x_TD, output_TD, dead, k_aux=6)
    torch.testing.assert_close(terms["auxk"], expected)
    ours, reference = gradients(sae, terms["auxk"]), gradients(sae, expected)
    reference["W_dec_FD"] = tangent(reference["W_dec_FD"], sae.W_dec_FD.detach())
    for name, grad in ours.items():
        torch.testing.assert_close(grad, reference[name], msg=name)


def test_auxk_teaches_dead_latents_only_and_reaches_their_encoder(sae, x_TD):
    """Oracle: the definition. The error is a constant, so neither a live latent nor the bias can learn from it."""
    _, _, terms = run(sae, x_TD, state(3, 7))
    grads = gradients(sae, terms["auxk"])
    for name in ("W_enc_FD", "b_enc_F", "W_dec_FD"):
        rows = grads[name].reshape(F, -1).norm(dim=1).nonzero().flatten()
        assert rows.tolist() == [3, 7], name
    assert grads["b_dec_D"].count_nonzero() == 0


def test_auxk_output_has_no_decoder_bias(sae, x_TD):
    """Moving x and b_dec together leaves codes and errors as they are, so AuxK must not notice."""
    _, _, before = run(sae, x_TD, state(3, 7, 9))
    with torch.no_grad():
        sae.b_dec_D.add_(100.0)
    _, _, after = run(sae, x_TD + 100.0, state(3, 7, 9))
    torch.testing.assert_close(after["auxk"], before["auxk"])


def test_auxk_has_no_unit_and_no_offset(sae, x_TD):
    """Σ‖e - ê‖² / Σ‖e - ē‖² of scaled activations, with weights that absorbed the scale, is the same number."""
    _, _, before = run(sae, x_TD, state(3, 7, 9))
    sae.absorb(torch.zeros(D), 1 / 50)
    _, _, after = run(sae, x_TD * 50, state(3, 7, 9))
    torch.testing.assert_close(after["auxk"], before["auxk"])


def test_auxk_of_a_perfect_reconstruction_is_not_nan(sae, x_TD):
    codes = sae.encode(x_TD)
    terms = sae.losses(Batch(x_TD, x_TD), codes, x_TD, state(3))
    assert terms["auxk"].item() == 0


def test_a_coefficient_of_zero_turns_auxk_off(sample_TD):
    sae = topk.TopK.from_sample(topk.Config(num_latents=F, k=K, auxk_coefficient=0), sample_TD)
    _, _, terms = run(sae, sample_TD, state(3, 7))
    assert set(terms) == {"reconstruction"}


def test_the_start(sample_TD):
    sae = topk.TopK.from_sample(topk.Config(num_latents=F, k=K), sample_TD, seed=5)
    torch.testing.assert_close(sae.W_dec_FD.norm(dim=1), torch.ones(F))
    torch.testing.assert_close(sae.W_enc_FD, sae.W_dec_FD)
    torch.testing.assert_close(sae.b_dec_D, sample_TD.mean(0))
    assert sae.W_enc_FD.data_ptr() != sae.W_dec_FD.data_ptr()
    assert not torch.equal(sae.W_dec_FD, topk.TopK.from_sample(sae.config, sample_TD, seed=6).W_dec_FD)


def test_after_a_step_rows_have_unit_length_again(sae):
    with torch.no_grad():
        sae.W_dec_FD.mul_(3)
    sae.after_step()
    torch.testing.assert_close(sae.W_dec_FD.norm(dim=1), torch.ones(F, dtype=torch.float64))


def test_no_token_has_more_than_k(sae, x_TD):
    assert sae.encode(x_TD).counts().tolist() == [K] * len(x_TD)
    with torch.no_grad():
        sae.b_enc_F.fill_(-1e6)
        sae.b_enc_F[3] = 1e6
    assert sae.encode(x_TD).counts().tolist() == [1] * len(x_TD)
