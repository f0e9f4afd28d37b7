"""TopK against loops over tokens in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.saes import Batch, TrainingState, topk

D, F, K = 12, 40, 4


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


def gradients(sae, term):
    names = [name for name, _ in sae.named_parameters()]
    grads = torch.autograd.grad(term, list(sae.parameters()), allow_unused=True, retain_graph=True)
    return {
        name: torch.zeros_like(parameter) if grad is None else grad
        for name, parameter, grad in zip(names, sae.parameters(), grads, strict=True)
    }


def run(sae, x_TD, training_state):
    codes = sae.encode(x_TD)
    output_TD = sae.decode(codes)
    return codes, output_TD, sae.losses(Batch.same(x_TD), codes, output_TD, training_state)


def reference_reconstruction(sae, x_TD):
    """Token by token: scores, the k largest that are positive, their rows added up, the squared error."""
    total = 0.0
    for x_D in x_TD:
        scores_F = sae.W_enc_FD @ (x_D - sae.b_dec_D) + sae.b_enc_F
        fired = [f for f in scores_F.argsort(descending=True)[:K].tolist() if scores_F[f] > 0]
        output_D = sae.b_dec_D + sum(scores_F[f] * sae.W_dec_FD[f] for f in fired)
        total = total + (x_D - output_D).square().sum()
    return total / (len(x_TD) * D)


def test_reconstruction_and_its_gradient(sae, x_TD):
    _, _, terms = run(sae, x_TD, state())
    expected = reference_reconstruction(sae, x_TD)
    assert set(terms) == {"reconstruction"}
    torch.testing.assert_close(terms["reconstruction"], expected)
    ours, reference = gradients(sae, terms["reconstruction"]), gradients(sae, expected)
    for name, grad in ours.items():
        torch.testing.assert_close(grad, reference[name], msg=name)


def test_the_start(sample_TD):
    sae = topk.TopK.from_sample(topk.Config(num_latents=F, k=K), Batch.same(sample_TD), seed=5)
    torch.testing.assert_close(sae.W_dec_FD.norm(dim=1), torch.ones(F))
    torch.testing.assert_close(sae.W_enc_FD, sae.W_dec_FD)
    torch.testing.assert_close(sae.b_dec_D, sample_TD.mean(0))
    assert sae.W_enc_FD.data_ptr() != sae.W_dec_FD.data_ptr()
    assert not torch.equal(sae.W_dec_FD, topk.TopK.from_sample(sae.config, Batch.same(sample_TD), seed=6).W_dec_FD)


def test_decoder_rows_are_held_at_unit_length(sae):
    assert sae.unit_rows == (sae.W_dec_FD,)


def test_no_token_has_more_than_k(sae, x_TD):
    assert sae.encode(x_TD).counts().tolist() == [K] * len(x_TD)
    with torch.no_grad():
        sae.b_enc_F.fill_(-1e6)
        sae.b_enc_F[3] = 1e6
    assert sae.encode(x_TD).counts().tolist() == [1] * len(x_TD)


def test_multi_k_adds_the_error_of_four_times_as_many_latents(sample_TD, same_terms_and_gradients):
    """Both codes selected separately, dense: ‖x - x̂_k‖² / D + μ ‖x - x̂_4k‖² / D, with every gradient."""
    config = topk.Config(num_latents=F, k=K, multi_k_weight=1 / 8)
    sae = topk.TopK.from_sample(config, Batch.same(sample_TD)).double().train()
    with torch.no_grad():
        sae.b_enc_F.copy_(torch.randn(F, generator=torch.Generator().manual_seed(3)) - 1)
    x_TD = sample_TD[:30].double()
    scores_TF = ((x_TD - sae.b_dec_D) @ sae.W_enc_FD.T + sae.b_enc_F).relu()

    def error(k):
        values_TK, latents_TK = scores_TF.topk(k, dim=1)
        f_TF = torch.zeros_like(scores_TF).scatter(1, latents_TK, values_TK)
        return (x_TD - f_TF @ sae.W_dec_FD - sae.b_dec_D).square().mean()

    codes, _, terms = run(sae, x_TD, state())
    assert (scores_TF > 0).sum(1).min() < 4 * K
    assert codes.counts().max() == K
    same_terms_and_gradients(sae, terms, {"reconstruction": error(K), "multi_k": error(4 * K) / 8})


def test_multi_k_changes_nothing_in_use(sae, x_TD):
    wide = topk.TopK(topk.Config(num_latents=F, k=K, multi_k_weight=1 / 8), D).double().eval()
    wide.load_state_dict(sae.state_dict())
    assert torch.equal(wide.encode(x_TD).dense(), sae.eval().encode(x_TD).dense())
