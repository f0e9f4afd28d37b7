"""BatchTopK against a sort of all scores of the batch in plain Python, and dense autograd in float64."""

import pytest
import torch

from lexiscope import saes
from lexiscope.saes import Batch, TrainingState, batch_topk, topk
from lexiscope.saes.affine import Affine

D, F, K = 12, 40, 3.5


@pytest.fixture
def sae(sample_TD):
    """In float64 and training, away from its symmetric start."""
    sae = batch_topk.BatchTopK.from_sample(batch_topk.Config(num_latents=F, k=K), Batch.same(sample_TD)).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.W_enc_FD.add_(0.1 * torch.randn(F, D, generator=rng))
        sae.b_enc_F.add_(0.1 * torch.randn(F, generator=rng))
    return sae.train()


@pytest.fixture
def x_TD(sample_TD):
    return sample_TD[:30].double()


def scores_of(sae, x_TD):
    return (x_TD - sae.b_dec_D) @ sae.W_enc_FD.T + sae.b_enc_F


def test_training_keeps_the_largest_of_the_batch(sae, x_TD, same_terms_and_gradients):
    """Every (token, latent) pair in one list, sorted; the best 3.5 · 30 = 105 fire."""
    scores_TF = scores_of(sae, x_TD)
    pairs = sorted(((score, t, f) for t, row in enumerate(scores_TF.tolist()) for f, score in enumerate(row)))
    mask_TF = torch.zeros_like(scores_TF)
    for score, t, f in pairs[-105:]:
        mask_TF[t, f] = score > 0
    expected = (x_TD - sae.b_dec_D - (scores_TF * mask_TF) @ sae.W_dec_FD).square().mean()

    codes = sae.encode(x_TD)
    terms = sae.losses(Batch.same(x_TD), codes, sae.decode(codes), TrainingState(torch.zeros(F, dtype=torch.bool)))
    torch.testing.assert_close(codes.dense(), scores_TF * mask_TF)
    assert len(set(codes.counts().tolist())) > 1
    same_terms_and_gradients(sae, terms, {"reconstruction": expected})


def test_in_use_every_token_is_judged_by_one_threshold(sae, x_TD):
    """Oracle: the comparison, dense."""
    sae.activation.threshold.fill_(1.7)
    scores_TF = scores_of(sae, x_TD)
    torch.testing.assert_close(sae.eval().encode(x_TD).dense(), scores_TF * (scores_TF > 1.7))


def test_the_running_threshold_follows_the_smallest_value_kept(sae, x_TD):
    """A tenth of the way in each step; 0 where the batch had fewer positive scores than its budget."""
    assert sae.activation.threshold > 0.5
    sae.activation.threshold.fill_(1.0)
    codes = sae.encode(x_TD).fired()
    sae.after_step(codes)
    torch.testing.assert_close(sae.activation.threshold, 0.9 + 0.1 * codes.values.min())
    before = sae.activation.threshold.clone()
    with torch.no_grad():
        sae.b_enc_F.fill_(-1e3)
    sae.after_step(sae.encode(x_TD).fired())
    torch.testing.assert_close(sae.activation.threshold, 0.9 * before)


@pytest.mark.parametrize("l0", [None, 1.0, 7.25])
def test_calibrated_l0_is_exact(sae, sample_TD, l0):
    x_TD = sample_TD.double()
    sae.calibrate(x_TD, l0)
    assert len(sae.eval().encode(x_TD)) == round((l0 or K) * len(x_TD))


def test_before_the_first_step_the_threshold_fits_the_sample(sample_TD):
    sae = batch_topk.BatchTopK.from_sample(batch_topk.Config(num_latents=F, k=4), Batch.same(sample_TD)).eval()
    assert len(sae.encode(sample_TD)) == 4 * len(sample_TD)


def test_more_latents_than_score_above_zero_means_all_of_those(sae, sample_TD):
    x_TD = sample_TD.double()
    sae.calibrate(x_TD, F)
    assert sae.activation.threshold == 0
    assert len(sae.eval().encode(x_TD)) == (scores_of(sae, x_TD) > 0).sum()


def test_a_run_that_ends_in_its_first_share_uses_the_threshold_too(sae, sample_TD):
    """As one of a single step does. Oracle: the same weights, read back."""
    x_TD = sample_TD.double()
    again = batch_topk.BatchTopK(sae.config, D).double()
    sae.before_step(0.0)
    sae.calibrate(x_TD)
    again.load_state_dict(sae.state_dict())
    assert torch.equal(sae.eval().encode(x_TD).dense(), again.eval().encode(x_TD).dense())


def test_a_k_that_rounds_to_nothing_lets_nothing_fire():
    sae = batch_topk.BatchTopK(batch_topk.Config(num_latents=F, k=1e-9, per_token_first=0), D).train()
    codes = sae.encode(torch.ones(3, D))
    sae.after_step(codes)
    assert len(codes) == 0 == float(sae.activation.threshold)


def test_the_threshold_takes_over_units(sae):
    sae.activation.threshold.fill_(1.5)
    sae.absorb(*[Affine.uniform(torch.zeros(D, dtype=torch.float64), 0.25)] * 2)
    assert sae.activation.threshold == 6


def test_at_first_every_token_has_its_own_k():
    """Oracle: TopK with the same weights, evaluated or not, and the threshold rests. Later tokens share."""
    rng = torch.Generator().manual_seed(4)
    x_TD = torch.randn(50, 16, generator=rng) * torch.rand(50, 1, generator=rng) * 10
    ours = saes.create(batch_topk.Config(num_latents=80, k=3.4, per_token_first=0.3), x_TD)
    own = saes.create(topk.Config(num_latents=80, k=3), x_TD)
    own.load_state_dict({name: tensor for name, tensor in ours.state_dict().items() if "threshold" not in name})
    expected = {mode: ours.train(mode).encode(x_TD) for mode in (True, False)}
    assert expected[True].counts().unique().numel() > 1
    for progress in (0.29, 0.3, 1.0):
        ours.before_step(progress)
        for mode, shared in expected.items():
            wanted = own.encode(x_TD) if progress < 0.3 else shared
            torch.testing.assert_close(ours.train(mode).encode(x_TD).dense(), wanted.dense())
        before = ours.activation.threshold.clone()
        ours.after_step(expected[True])
        assert (ours.activation.threshold == before) == (progress < 0.3)
