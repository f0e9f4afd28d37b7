"""End to end on a model small enough to differentiate by hand: one linear layer from the activation to the logits."""

import json

import pytest
import torch

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch
from lexiscope.saes.affine import Affine
from lexiscope.train import TrainConfig
from lexiscope.train.config import resolve
from lexiscope.train.finetune import Config, EndToEnd, finetune, predict
from lexiscope.train.stream import Units
from lexiscope.train.trainer import Trainer

HOOK = HookPoint.parse("resid_post.0")
V = 7


class Text:
    """Logits are x · U, and U sees four dimensions only: what matters to the model is not what matters to ‖x - x̂‖."""

    def __init__(self, x_TD, seed):
        rng = torch.Generator().manual_seed(3)
        self.x_TD = x_TD
        self.U_DV = torch.randn(x_TD.shape[1], V, generator=rng) / 5
        self.U_DV[4:] = 0
        self.targets_T = torch.randint(V, (len(x_TD),), generator=torch.Generator().manual_seed(seed))

    def read(self, hook):
        assert hook == HOOK
        return self.x_TD

    def log_probabilities(self, hook, replace):
        return (replace(self.x_TD) @ self.U_DV).log_softmax(1)

    def divergence(self, log_probabilities_TV):
        clean_TV = (self.x_TD @ self.U_DV).log_softmax(1)
        return (clean_TV.exp() * (clean_TV - log_probabilities_TV)).sum(1)

    def cross_entropy(self, log_probabilities_TV):
        return -log_probabilities_TV[torch.arange(len(self.targets_T)), self.targets_T]


@pytest.fixture
def sae(world):
    sae = saes.create(saes.topk.Config(num_latents=48, k=3), world.x_TD[:2000])
    sae.hook = HOOK
    return sae


def texts(world, count, start=0):
    return [Text(world.x_TD[start + 100 * n : start + 100 * (n + 1)], n) for n in range(count)]


@pytest.mark.parametrize("loss", ["kl", "cross_entropy"])
def test_the_term_and_its_gradient(sae, world, loss):
    """Oracle: the same formula on dense tensors by autograd, the balance as a plain number; units with a scale."""
    text = texts(world, 1)[0]
    units = Units(*[Affine.uniform(world.x_TD.mean(0), 0.2)] * 2)
    sae.absorb(*(unit.inverse() for unit in units))
    term = EndToEnd(Config(loss=loss, weight=3.0), sae, units)
    term.passage = text
    batch = units(Batch.same(text.x_TD))
    codes = sae.encode(batch.input_TD)
    ours = term.losses(batch, codes, sae.decode(codes), None)["end_to_end"]

    scores_TF = ((batch.input_TD - sae.b_dec_D) @ sae.W_enc_FD.T + sae.b_enc_F).relu()
    kept_TF = scores_TF * (scores_TF >= scores_TF.topk(3, dim=1).values[:, -1:])
    output_TD = kept_TF @ sae.W_dec_FD + sae.b_dec_D
    spliced_TV = ((output_TD / 0.2 + world.x_TD.mean(0)) @ text.U_DV).log_softmax(1)
    clean_TV = (text.x_TD @ text.U_DV).log_softmax(1)
    if loss == "kl":
        model_loss = torch.nn.functional.kl_div(spliced_TV, clean_TV, log_target=True, reduction="batchmean")
    else:
        model_loss = torch.nn.functional.nll_loss(spliced_TV, text.targets_T)
    balance = ((output_TD - batch.target_TD).square().mean() / model_loss).item()
    expected = 3.0 * balance * model_loss
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    for parameter in sae.parameters():
        grads = [torch.autograd.grad(value, parameter, retain_graph=True)[0] for value in (ours, expected)]
        torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-5)


def test_it_brings_the_models_predictions_closer_than_as_many_steps_without(sae, world, tmp_path):
    """Oracle: the same run without the term. The result is saved in raw units and says what it achieved."""
    settings = TrainConfig(tokens=12_000, batch_tokens=100, lr=2e-3)
    plain = saes.create(sae.config, world.x_TD[:2000])
    units = Units(*[Affine.uniform(torch.zeros(24), 0.2)] * 2)
    plain.absorb(*(unit.inverse() for unit in units))
    trainer = Trainer(plain, resolve(settings, plain.config, 24)[0])
    for text in texts(world, 120):
        trainer.step(units(Batch.same(text.x_TD)))
    plain.eval()
    plain.absorb(*units)
    plain.hook = HOOK
    heldout = texts(world, 5, start=15_000)
    tuned = finetune(sae, texts(world, 120), heldout, settings, out=tmp_path / "tuned")
    manifest = json.loads((tmp_path / "tuned" / "manifest.json").read_text())
    assert manifest["predictions"]["after"]["kl"] == pytest.approx(predict(tuned, heldout).kl, rel=1e-3)
    assert manifest["predictions"]["after"]["kl"] < 0.5 * manifest["predictions"]["before"]["kl"]
    assert predict(tuned, heldout).kl < 0.8 * predict(plain, heldout).kl


def test_several_hook_points_are_refused(sae, world, tmp_path):
    sae.reads = sae.writes = (HOOK, HookPoint.parse("resid_post.1"))
    with pytest.raises(InputError, match="reads one hook point"):
        finetune(sae, [], texts(world, 1), TrainConfig(), out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
