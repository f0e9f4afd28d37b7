"""Orthogonality against loops over pairs of latents in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, TrainingState, architectures, create
from lexiscope.saes.baselines import pca
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.terms.orthogonality import Config, Orthogonality
from lexiscope.train.trainer import Trainer

D, F = 12, 40


@pytest.fixture
def sample_TD():
    return torch.randn(400, D, generator=torch.Generator().manual_seed(0))


def make(sample_TD, architecture="topk", **settings):
    """In float64, with rows of unequal length and two pairs that are much alike, one of them by opposition."""
    sae = create(architectures()[architecture].Config(num_latents=F, **settings), sample_TD).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        rows_FD = sae.directions_FD
        rows_FD.mul_(0.5 + torch.rand(F, 1, generator=rng, dtype=torch.float64))
        rows_FD[3] = rows_FD[20] + 0.1 * torch.randn(D, generator=rng, dtype=torch.float64)
        rows_FD[8] = -2 * rows_FD[31] + 0.1 * torch.randn(D, generator=rng, dtype=torch.float64)
    return sae


def look(term, step=0):
    """Its loss; it does not read the batch."""
    return term.losses(None, None, None, TrainingState(torch.zeros(F, dtype=torch.bool), step=step))


def reference(rows_FD, candidates):
    """For each latent the largest cos² to any of its candidates, the mean of it."""
    total = 0.0
    for i, row_D in enumerate(rows_FD):
        squares = [
            (row_D @ rows_FD[j]).square() / (row_D.square().sum() * rows_FD[j].square().sum()) for j in candidates(i)
        ]
        total = total + torch.stack(squares).max()
    return total / F


def test_all_pairs_at_once(sample_TD):
    sae = make(sample_TD)
    ours = look(Orthogonality(Config(coefficient=0.5, chunk_latents=F), sae))["orthogonality"]
    expected = 0.5 * reference(sae.W_dec_FD, lambda i: [j for j in range(F) if j != i])
    torch.testing.assert_close(ours, expected)
    grads = [torch.autograd.grad(loss, sae.W_dec_FD)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*grads)
    assert grads[0][8].any()


@pytest.mark.parametrize("chunk", [2, 7, 13])
def test_chunks(sample_TD, chunk, monkeypatch):
    """Oracle: the same loops among the latents that were dealt together, whose order is planted."""
    order = torch.randperm(F, generator=torch.Generator().manual_seed(9))
    monkeypatch.setattr(torch, "randperm", lambda *_, **__: order)
    sae = make(sample_TD)
    ours = look(Orthogonality(Config(chunk_latents=chunk), sae))["orthogonality"]
    together = {i: set(part) - {i} for part in map(torch.Tensor.tolist, order.tensor_split(F // chunk)) for i in part}
    assert min(map(len, together.values())) >= chunk - 1
    torch.testing.assert_close(ours, 0.25 * reference(sae.W_dec_FD, together.__getitem__))


def test_latents_are_dealt_anew_at_every_step_and_only_then(sample_TD):
    sae = make(sample_TD)
    term = Orthogonality(Config(chunk_latents=4), sae)
    first, again = look(term)["orthogonality"], look(term)["orthogonality"]
    assert first.item() == again.item() != look(term, step=1)["orthogonality"].item()


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("topk", {}), ("relu_l1", {"penalty": "decoder_norm"}), ("matryoshka", {}), ("matching_pursuit", {"k": 4})],
)
def test_it_combines_and_pushes_rows_apart(sample_TD, architecture, settings):
    """Oracle: the largest cosines before and after thirty steps with nothing else of weight in the loss."""
    sae = make(sample_TD, architecture, **settings).float()
    asked = TrainConfig(tokens=6_000, batch_tokens=200, lr=0.01, terms=[{"name": "orthogonality", "coefficient": 100}])
    trainer = Trainer(sae, resolve(asked, sae.config, D)[0])

    def alike():
        rows_FD = torch.nn.functional.normalize(sae.directions_FD.detach(), dim=1)
        return (rows_FD @ rows_FD.T).square().fill_diagonal_(0).amax(1).mean().item()

    before = alike()
    for start in range(0, 6_000, 200):
        trainer.step(Batch.same(sample_TD[start % 400 : start % 400 + 200]))
    assert alike() < 0.7 * before


def test_nothing_to_do(sample_TD):
    assert look(Orthogonality(Config(coefficient=0), make(sample_TD))) == {}


def test_rows_that_do_not_learn_are_refused(sample_TD):
    with pytest.raises(InputError, match="orthogonality needs decoder rows that learn, which pca has not"):
        Orthogonality(Config(), create(pca.Config(), sample_TD))
