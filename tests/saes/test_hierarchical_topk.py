"""Hierarchical TopK against loops over tokens and budgets in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, TrainingState, hierarchical_topk, load, topk
from lexiscope.saes.hierarchical_topk import ranks

D, F, K = 12, 40, 6


def make(sample_TD, **settings):
    """In float64, away from its symmetric start."""
    config = hierarchical_topk.Config.read({"num_latents": F, "k": K, **settings}, "here")
    sae = hierarchical_topk.HierarchicalTopK.from_sample(config, Batch.same(sample_TD)).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=rng))
        sae.b_enc_F.add_(0.1 * torch.randn(F, generator=rng))
    return sae


def reference(sae, x_TD, budgets):
    """Token by token: latents in order of their score, a running sum of rows, the squared error at every budget."""
    total = 0.0
    for x_D in x_TD:
        scores_F = sae.W_enc_FD @ (x_D - sae.b_dec_D) + sae.b_enc_F
        order = scores_F.argsort(descending=True)[:K].tolist()
        for budget in budgets:
            fired = [f for f in order[:budget] if scores_F[f] > 0]
            output_D = sae.b_dec_D + sum(scores_F[f] * sae.W_dec_FD[f] for f in fired)
            total = total + (x_D - output_D).square().sum()
    return total / (len(x_TD) * D * len(budgets))


@pytest.mark.parametrize(
    ("asked", "budgets"),
    [(None, [1, 2, 4, 6]), ("all", [1, 2, 3, 4, 5, 6]), ((2, 3), [2, 3, 6]), ((), [6]), ((1, 6), [1, 6])],
    ids=["doubling", "all", "given", "only k", "given with k"],
)
def test_reconstruction_and_its_gradient(sample_TD, asked, budgets):
    """With biases so low that on some tokens fewer than k latents are positive."""
    sae, x_TD = make(sample_TD, budgets=asked).train(), sample_TD[:30].double()
    with torch.no_grad():
        sae.b_enc_F.sub_(5)
    codes = sae.encode(x_TD)
    assert codes.counts().unique().numel() > 1
    state = TrainingState(torch.zeros(F, dtype=torch.bool))
    terms = sae.losses(Batch.same(x_TD), codes, sae.decode(codes), state)
    expected = reference(sae, x_TD, budgets)
    assert set(terms) == {"reconstruction"}
    torch.testing.assert_close(terms["reconstruction"], expected)
    parameters = list(sae.parameters())
    grads = [torch.autograd.grad(term, parameters, retain_graph=True) for term in (terms["reconstruction"], expected)]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_any_k_is_topk_of_that_k(sample_TD, tmp_path):
    """Oracle: TopK with the same weights. Weights are shared, not copied."""
    sae = make(sample_TD).float().eval()
    for k in (1, 3, K):
        plain = topk.TopK(topk.Config(num_latents=F, k=k), D)
        plain.load_state_dict(sae.state_dict())
        torch.testing.assert_close(sae.at(k)(sample_TD), plain(sample_TD))
        assert torch.equal(sae.encode_at(sample_TD, k).dense(), plain.encode(sample_TD).dense())
    assert sae.at(3).W_dec_FD is sae.W_dec_FD
    assert sae.encode(sample_TD).counts().max() == K
    sae.at(3).save(tmp_path / "sae")
    assert load(tmp_path / "sae").encode(sample_TD).counts().tolist() == [3] * len(sample_TD)


def test_training_always_sees_k(sample_TD):
    sae = make(sample_TD, k_used=2)
    assert sae.train().encode(sample_TD.double()).counts().max() == K
    assert sae.eval().encode(sample_TD.double()).counts().max() == 2


def test_ranks():
    codes = SparseCodes.from_dense(torch.tensor([[0, 0.0, 0], [3, 0, 5.0], [2, 2, 9.0], [0, 7, 0]]))
    assert ranks(codes).tolist() == [1, 0, 1, 2, 0, 0]
    assert ranks(SparseCodes.from_dense(torch.zeros(3, 5))).tolist() == []
    assert ranks(SparseCodes.from_dense(torch.zeros(0, 5))).tolist() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k_used": 7}, "k_used is 7, but it is trained for at most k = 6"),
        ({"budgets": (3, 2)}, "budgets rise"),
        ({"budgets": (0, 2)}, "budgets rise"),
        ({"budgets": (2, 9)}, "budgets rise from above 0, and none is above k"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        hierarchical_topk.Config.read({"k": K, **settings}, "here")


def test_more_than_it_was_trained_for_is_refused(sample_TD):
    with pytest.raises(InputError, match="trained for 1 to 6 latents per token, not 7"):
        make(sample_TD).at(7)
