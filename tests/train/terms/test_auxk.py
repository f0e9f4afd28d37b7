"""AuxK against loops over tokens in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, TrainingState, create, topk
from lexiscope.saes.affine import Affine
from lexiscope.saes.baselines import pca
from lexiscope.train.terms import auxk

D, F, K = 12, 40, 4


@pytest.fixture
def sample_TD():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(400, D, generator=rng) * torch.linspace(0.5, 3, D) + torch.randn(D, generator=rng) * 4


@pytest.fixture
def sae(sample_TD):
    """In float64, away from its symmetric start."""
    sae = topk.TopK.from_sample(topk.Config(num_latents=F, k=K), Batch.same(sample_TD)).double()
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


def gradients(sae, loss=None, term=None):
    """Of a loss by autograd, or those that the term adds."""
    sae.zero_grad()
    if loss is not None:
        loss.backward(retain_graph=True)
    if term is not None:
        term.add_gradients()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in sae.named_parameters()
    }


def run(sae, x_TD, training_state, config=None):
    codes = sae.encode(x_TD)
    output_TD = sae.decode(codes)
    term = auxk.AuxK(config or auxk.Config(), sae)
    return term, output_TD, term.losses(Batch.same(x_TD), codes, output_TD, training_state)


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


@pytest.mark.parametrize("dead", [(3, 7), (0, 5, 8, 11, 17, 19, 23, 29, 31, 39)])
def test_auxk_and_its_gradient(sae, x_TD, dead):
    """With fewer and with more dead latents than k_aux = D / 2 = 6."""
    term, output_TD, terms = run(sae, x_TD, state(*dead))
    expected = reference_auxk(sae, x_TD, output_TD, dead, k_aux=6)
    torch.testing.assert_close(terms["auxk"], expected)
    assert not terms["auxk"].requires_grad
    ours, reference = gradients(sae, term=term), gradients(sae, expected)
    for name, grad in ours.items():
        torch.testing.assert_close(grad, reference[name], msg=name)


def test_auxk_teaches_dead_latents_only_and_reaches_their_encoder(sae, x_TD):
    """Oracle: the definition. The error is a constant, so neither a live latent nor the bias can learn from it."""
    term, _, _ = run(sae, x_TD, state(3, 7))
    grads = gradients(sae, term=term)
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
    sae.absorb(*[Affine.uniform(torch.zeros(D), 1 / 50)] * 2)
    _, _, after = run(sae, x_TD * 50, state(3, 7, 9))
    torch.testing.assert_close(after["auxk"], before["auxk"])


def test_auxk_of_a_perfect_reconstruction_is_not_nan(sae, x_TD):
    codes = sae.encode(x_TD)
    terms = auxk.AuxK(auxk.Config(), sae).losses(Batch.same(x_TD), codes, x_TD, state(3))
    assert terms["auxk"].item() == 0


def test_nothing_to_do_without_dead_latents_or_with_a_coefficient_of_zero(sae, x_TD):
    assert run(sae, x_TD, state())[2] == {}
    assert run(sae, x_TD, state(3, 7), auxk.Config(coefficient=0))[2] == {}


def test_an_autoencoder_without_encoder_rows_is_refused(sample_TD):
    with pytest.raises(InputError, match="auxk needs an encoder row for every latent"):
        auxk.AuxK(auxk.Config(), create(pca.Config(), sample_TD))
