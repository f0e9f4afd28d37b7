"""Resampling against the published recipe, followed by hand for each latent."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, create, jumprelu, relu_l1, topk, transcoder
from lexiscope.saes.baselines import pca
from lexiscope.train.adam import Adam
from lexiscope.train.dead import DeadLatents
from lexiscope.train.terms import resample
from lexiscope.train.terms.term import AfterStep

D, F, T = 12, 40, 50
DEAD = [3, 7, 19]


@pytest.fixture
def sample_TD():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(400, D, generator=rng) * torch.linspace(0.5, 3, D) + torch.randn(D, generator=rng) * 4


class Run:
    """A run of 8 steps of 50 tokens whose weights never move, with three latents dead from the start."""

    def __init__(self, sae, config, sample, dead=DEAD):
        self.sae, self.term = sae.train(), resample.Resample(config, sae)
        self.batches = [Batch(*(x_TD[start : start + T] for x_TD in sample)) for start in range(0, 8 * T, T)]
        if sample.input_TD is sample.target_TD:
            self.batches = [Batch.same(batch.input_TD) for batch in self.batches]
        self.dead = DeadLatents(sae.num_latents, 100)
        self.dead.silent_tokens_F[dead] = 1000
        self.optimizer = Adam(sae.parameters(), 1e-12)
        for parameter in sae.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.optimizer.step()
        self.restarted = []

    def go(self):
        """Step by step; notes after which steps some latent was no longer dead."""
        for number, batch in enumerate(self.batches):
            codes = self.sae.encode(batch.input_TD).fired()
            before = int(self.dead.mask_F.sum())
            output_TD = self.sae.reconstruct(batch.input_TD, codes).detach()
            self.term.after_step(AfterStep(batch, codes, output_TD, self.optimizer, self.dead, number, 8))
            if int(self.dead.mask_F.sum()) != before:
                self.restarted.append(number + 1)
        return self


@pytest.fixture
def sae(sample_TD):
    """Encoder and decoder have parted, so that it matters which norms are meant."""
    sae = create(topk.Config(num_latents=F, k=4), sample_TD)
    with torch.no_grad():
        sae.W_enc_FD.mul_(torch.linspace(1, 3, F)[:, None])
        sae.b_enc_F.fill_(0.5)
    return sae


@torch.no_grad()
def worst_first(sae, x_TD):
    """Tokens by hand: the squared error of each, the largest first."""
    errors = [float((x_D - sae(x_D[None])[0]).square().sum()) for x_D in x_TD]
    order = sorted(range(len(x_TD)), key=lambda t: -errors[t])
    return [x_TD[t] for t in order], errors


def test_dead_latents_are_pointed_at_the_inputs_with_the_largest_loss(sae, sample_TD):
    """The round is due after a quarter of the run; candidates are the 100 tokens before it."""
    ranked, _ = worst_first(sae, sample_TD[:100])
    live = [f for f in range(F) if f not in DEAD]
    alive_norm = sum(sae.W_enc_FD[f].norm().item() for f in live) / len(live)
    config = resample.Config(every_tokens=100, last_fraction=0.25)
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    run = Run(sae, config, Batch.same(sample_TD)).go()
    for x_D, latent in zip(ranked, DEAD, strict=False):
        towards_D = (x_D - sae.b_dec_D) / (x_D - sae.b_dec_D).norm()
        torch.testing.assert_close(sae.W_dec_FD[latent], towards_D)
        torch.testing.assert_close(sae.W_enc_FD[latent], towards_D * 0.2 * alive_norm)
        assert sae.b_enc_F[latent] == 0
    for name in ("W_enc_FD", "W_dec_FD", "b_enc_F"):
        torch.testing.assert_close(sae.state_dict()[name][live], before[name][live])
    assert run.restarted == [2]


def test_moments_of_those_rows_are_forgotten_and_no_others(sae, sample_TD):
    run = Run(sae, resample.Config(every_tokens=100, last_fraction=0.25), Batch.same(sample_TD)).go()
    for weights in (sae.W_enc_FD, sae.W_dec_FD, sae.b_enc_F):
        moments = {name: tensor for name, tensor in run.optimizer.state[weights].items() if name != "step"}
        assert len(moments) == 2
        for name, tensor in moments.items():
            assert tensor.reshape(F, -1).ne(0).all(1).tolist() == [f not in DEAD for f in range(F)], name
    assert all(tensor.ne(0).all() for tensor in run.optimizer.state[sae.b_dec_D].values())


def test_rounds_come_in_tokens_and_stop(sae, sample_TD):
    """Latents that die again are restarted at the next round, until the last share of the run."""

    class DieAgain(Run):
        def go(self):
            for number, batch in enumerate(self.batches):
                self.dead.silent_tokens_F[DEAD] = 1000
                codes = self.sae.encode(batch.input_TD).fired()
                done = AfterStep(batch, codes, batch.input_TD, self.optimizer, self.dead, number, 8)
                self.term.after_step(done)
                if not self.dead.mask_F.any():
                    self.restarted.append(number + 1)
            return self

    rounds = {
        "default": (resample.Config(), [1, 2, 3, 4]),
        "every two steps": (resample.Config(every_tokens=100, last_fraction=1.0), [2, 4, 6, 8]),
        "between steps": (resample.Config(every_tokens=120, last_fraction=1.0), [3, 5, 8]),
        "never": (resample.Config(every_tokens=1000, last_fraction=1.0), []),
    }
    for name, (config, expected) in rounds.items():
        assert DieAgain(sae, config, Batch.same(sample_TD)).go().restarted == expected, name


def test_drawn_by_loss_squared(sae, sample_TD):
    """Oracle: the probabilities. Over many seeds the first draw is token t as often as loss² says."""
    _, errors = worst_first(sae, sample_TD[:T])
    expected = torch.tensor(errors).square()
    expected = expected / expected.sum()
    counts = torch.zeros(T)
    for seed in range(400):
        term = resample.Resample(resample.Config(choose="loss_squared", seed=seed), sae)
        counts[term._choose(torch.tensor(errors), 1, 0)] += 1
    chi_square = ((counts - 400 * expected).square() / (400 * expected)).sum().item()
    assert chi_square < 85  # 49 degrees of freedom: passed by chance once in 1,000
    drawn = term._choose(torch.tensor(errors), 30, 0)
    assert len(drawn.unique()) == 30


def test_candidates_are_the_last_tokens_before_a_round_only(sae, sample_TD):
    run = Run(sae, resample.Config(every_tokens=300, last_fraction=1.0, candidate_tokens=100), Batch.same(sample_TD))
    kept = []
    for number, batch in enumerate(run.batches[:6]):
        codes = sae.encode(batch.input_TD).fired()
        run.term.after_step(AfterStep(batch, codes, batch.input_TD, run.optimizer, run.dead, number, 8))
        kept.append(len(run.term._candidates))
    assert kept == [0, 0, 0, 0, 1, 0]
    chosen = torch.nn.functional.normalize(torch.cat([b.input_TD for b in run.batches[4:6]]) - sae.b_dec_D, dim=1)
    assert ((sae.W_dec_FD[DEAD] @ chosen.T).amax(1) > 0.9999).all()


def test_more_dead_than_candidates(sae, sample_TD):
    """20 tokens for 30 latents: 10 wait for the next round."""
    config = resample.Config(every_tokens=20, last_fraction=0.1)
    run = Run(sae, config, Batch.same(sample_TD), dead=list(range(30)))
    few = Batch.same(sample_TD[:20])
    codes = sae.encode(few.input_TD).fired()
    run.term.after_step(AfterStep(few, codes, few.input_TD, run.optimizer, run.dead, 0, 10))
    assert int(run.dead.mask_F.sum()) == 10


def test_all_dead_takes_the_norms_there_are(sae, sample_TD):
    Run(sae, resample.Config(every_tokens=100), Batch.same(sample_TD), dead=list(range(F))).go()
    assert all(tensor.isfinite().all() for tensor in sae.state_dict().values())


def test_free_decoder_rows_take_the_mean_length_of_live_ones(sample_TD):
    sae = create(relu_l1.Config(num_latents=F, penalty="decoder_norm"), sample_TD)
    with torch.no_grad():
        sae.W_dec_FD.mul_(2.5)
        sae.W_dec_FD[DEAD] *= 10
    Run(sae, resample.Config(every_tokens=100, last_fraction=0.25), Batch.same(sample_TD)).go()
    torch.testing.assert_close(sae.W_dec_FD[DEAD].norm(dim=1), torch.full((3,), 2.5))


def test_thresholds_take_the_median_of_live_ones(sample_TD):
    sae = create(jumprelu.Config(num_latents=F), sample_TD)
    with torch.no_grad():
        sae.activation.threshold_F.copy_(torch.linspace(1, 2, F))
        sae.activation.threshold_F[DEAD] = 1e6
    live = sorted(v for f, v in enumerate(sae.activation.threshold_F.tolist()) if f not in DEAD)
    Run(sae, resample.Config(every_tokens=100, last_fraction=0.25), Batch.same(sample_TD)).go()
    assert sae.activation.threshold_F[DEAD].tolist() == pytest.approx([live[(len(live) - 1) // 2]] * 3)


def test_a_transcoder_reads_the_input_and_writes_the_target_of_the_same_token(sample_TD):
    target_TD = sample_TD[:, :5] ** 2
    sae = create(transcoder.Config(num_latents=F), Batch(sample_TD, target_TD))
    Run(sae, resample.Config(every_tokens=100, last_fraction=0.25), Batch(sample_TD, target_TD)).go()
    reads = torch.nn.functional.normalize(sample_TD[:100] - sample_TD[:100].mean(0), dim=1)
    writes = torch.nn.functional.normalize(target_TD[:100] - sae.b_dec_D, dim=1)
    unit_reads = torch.nn.functional.normalize(sae.W_enc_FD[DEAD], dim=1)
    unit_writes = torch.nn.functional.normalize(sae.W_dec_FD[DEAD], dim=1)
    matched = (unit_reads @ reads.T).max(1)
    assert (matched.values > 0.9999).all()
    written = (unit_writes * writes[matched.indices]).sum(1)
    torch.testing.assert_close(written, torch.ones(3))
    scores = sae.W_enc_FD[DEAD] @ sample_TD[:100].mean(0) + sae.b_enc_F[DEAD]
    torch.testing.assert_close(scores, torch.zeros(3), rtol=0, atol=1e-4)


def test_an_autoencoder_without_encoder_rows_is_refused(sample_TD):
    with pytest.raises(InputError, match="resample needs an encoder row for every latent"):
        resample.Resample(resample.Config(), create(pca.Config(), sample_TD))
