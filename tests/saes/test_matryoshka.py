"""Matryoshka against loops over tokens and prefixes in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, TrainingState, create, matryoshka, read_config, relu_l1, topk

D, F, K = 12, 40, 4
TOPK = {"name": "topk", "k": K}


def make(sample_TD, **settings):
    """In float64, away from its symmetric start."""
    config = matryoshka.Config.read({"num_latents": F, "activation": TOPK, **settings}, "here")
    sae = matryoshka.Matryoshka.from_sample(config, Batch.same(sample_TD)).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=rng))
        sae.b_enc_F.add_(0.1 * torch.randn(F, generator=rng))
    return sae


def terms_of(sae, x_TD):
    codes = sae.encode(x_TD)
    return sae.losses(Batch.same(x_TD), codes, sae.decode(codes), TrainingState(torch.zeros(F, dtype=torch.bool)))


def gradients(sae, term):
    grads = torch.autograd.grad(term, list(sae.parameters()), allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(parameter) if grad is None else grad
        for parameter, grad in zip(sae.parameters(), grads, strict=True)
    ]


def reference(sae, x_TD, sizes, weights, fires):
    """Token by token, prefix by prefix: rows of its latents that fired added up, the squared error."""
    total = 0.0
    for x_D in x_TD:
        scores_F = sae.W_enc_FD @ (x_D - sae.b_dec_D) + sae.b_enc_F
        for size, weight in zip(sizes, weights, strict=True):
            fired = [f for f in fires(scores_F) if f < size]
            output_D = sae.b_dec_D + sum(scores_F[f] * sae.W_dec_FD[f] for f in fired)
            total = total + weight * (x_D - output_D).square().sum()
    return total / (len(x_TD) * D)


def k_largest(scores_F):
    return [f for f in scores_F.argsort(descending=True)[:K].tolist() if scores_F[f] > 0]


def positive(scores_F):
    return (scores_F > 0).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("settings", "sizes", "weights", "fires"),
    [
        ({}, (2, 5, 10, 20, F), (0.2,) * 5, k_largest),
        ({"prefixes": (3, 17), "prefix_weights": (1, 2, 5)}, (3, 17, F), (1 / 8, 2 / 8, 5 / 8), k_largest),
        ({"activation": "relu_l1", "prefix_shares": (0.5,)}, (20, F), (0.5, 0.5), positive),
    ],
    ids=["shares", "sizes and weights", "relu"],
)
def test_reconstruction_and_its_gradient(sample_TD, settings, sizes, weights, fires):
    sae, x_TD = make(sample_TD, **settings), sample_TD[:30].double()
    assert sae.sizes == sizes
    term = terms_of(sae, x_TD)["reconstruction"]
    expected = reference(sae, x_TD, sizes, weights, fires)
    torch.testing.assert_close(term, expected)
    for ours, theirs in zip(gradients(sae, term), gradients(sae, expected), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_weight_on_any_prefix_is_the_plain_architecture(sample_TD):
    """Oracle: TopK with the same weights."""
    sae, x_TD = make(sample_TD, prefixes=(5, 11), prefix_weights=(0, 0, 3)), sample_TD[:30].double()
    plain = topk.TopK(topk.Config(num_latents=F, k=K), D).double()
    plain.load_state_dict(sae.state_dict())
    ours, theirs = terms_of(sae, x_TD)["reconstruction"], terms_of(plain, x_TD)["reconstruction"]
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(gradients(sae, ours), gradients(plain, theirs), strict=True):
        torch.testing.assert_close(one, other)


def test_the_activation_brings_its_penalty_its_rows_and_its_remedies(sample_TD):
    sae, x_TD = make(sample_TD, activation={"name": "relu_l1", "penalty": "decoder_norm"}), sample_TD[:30].double()
    plain = relu_l1.ReluL1(relu_l1.Config(num_latents=F, penalty="decoder_norm"), D).double()
    plain.load_state_dict(sae.state_dict())
    torch.testing.assert_close(terms_of(sae, x_TD)["sparsity"], terms_of(plain, x_TD)["sparsity"])
    assert sae.unit_rows == ()
    assert (sae.config.remedies, make(sample_TD).config.remedies) == ((), ("auxk",))
    assert len(make(sample_TD).unit_rows) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prefixes": (5, 41)}, "a prefix of 41 latents does not fit into 40"),
        ({"prefixes": (5, 5)}, "rise"),
        ({"prefixes": (0, 5)}, "rise"),
        ({"prefix_shares": (0.5, 0.25)}, "rise"),
        ({"prefix_shares": (0.5, 1.5)}, "at most 1"),
        ({"prefixes": (5,), "prefix_weights": (1,)}, "1 prefix_weights for prefixes of 5, 40 latents"),
        ({"prefix_weights": (0, 0, 0, 0, 0)}, "not all of them are 0"),
        ({"prefix_weights": (1, 1, -1, 1, 1)}, "not negative"),
        ({"activation": "step"}, "no activation is called 'step'"),
        ({"activation": {"name": "topk", "l1": 3}}, "topk: unknown key 'l1'"),
        ({"activation": topk.Config()}, "not the Options of an activation"),
    ],
)
def test_what_makes_no_sense_is_refused(sample_TD, settings, message):
    with pytest.raises(InputError, match=message):
        create(matryoshka.Config.read({"num_latents": F, **settings}, "here"), sample_TD)


def test_settings_travel(sample_TD, tmp_path):
    config = make(sample_TD, prefixes=(3, 9)).config
    assert read_config(config.model_dump(mode="json"), "here") == config
    assert config.activation == topk.Options(k=K)
    with pytest.raises(InputError, match="prefix_weights for prefixes of 1, 2 latents"):
        create(config.model_copy(update={"num_latents": 2, "prefixes": (1,), "prefix_weights": (1,)}), sample_TD)
