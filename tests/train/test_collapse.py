"""Planted collapses, each told from the others and from health; and a guard that only looks."""

import json
import warnings

import pytest
import torch

from lexiscope import saes
from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import TrainingError
from lexiscope.saes import Batch, create
from lexiscope.train.collapse import CollapseWarning, Guard
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.dead import DeadLatents
from lexiscope.train.run import train
from lexiscope.train.step import Step

T, D, F = 64, 12, 30
SHORT = TrainConfig(tokens=4_000, batch_tokens=100, warmup_steps=2, log_every_steps=4, evaluate_every_steps=20)
SMALL = saes.topk.Config(num_latents=64, k=3)


@pytest.fixture
def x_TD():
    return torch.randn(T, D, generator=torch.Generator().manual_seed(0))


class Planted:
    """A guard over steps whose codes, output, losses and gradients are made up."""

    def __init__(self, x_TD, config=None, **settings):
        self.x_TD = x_TD
        self.sae = create(config or saes.topk.Config(num_latents=F, k=3), x_TD)
        asked = TrainConfig(**{"tokens": 100 * T, "batch_tokens": T, "lr": 0.5, "warmup_steps": 0} | settings)
        self.guard = Guard(self.sae, resolve(asked, self.sae.config, D)[0])
        self.number = 0

    def see(self, steps, *, firing=3, output_TD=None, batch=None, loss=0.1, norm=1.0, terms=()):
        """Names of what was found in so many equal steps."""
        codes = SparseCodes.from_dense((torch.arange(F) < firing).float().repeat(T, 1))
        found = []
        for _ in range(steps):
            step = Step(
                self.number,
                codes,
                {name: torch.tensor(loss) for name in ("reconstruction", *terms)},
                torch.tensor(norm),
                0.5,
                DeadLatents(F, 100),
                2.5,
                batch or Batch.same(self.x_TD),
                0.9 * self.x_TD if output_TD is None else output_TD,
            )
            found += self.guard.look(step)
            self.number += 1
        self.texts = [finding.text for finding in found]
        return [finding.name for finding in found]


def test_a_healthy_run_is_left_in_peace(x_TD):
    assert Planted(x_TD).see(100) == []


def test_nothing_fires(x_TD):
    planted = Planted(x_TD, saes.relu_l1.Config(num_latents=F, l1_coefficient=5.0))
    assert planted.see(19, firing=0, terms=["sparsity"]) == []
    assert planted.see(1, firing=0, terms=["sparsity"]) == ["nothing_fires"]
    (text,) = planted.texts
    assert text.startswith(
        "no latent fired in the last 20 steps: the l1_coefficient 5 is too strong for these activations"
    )
    assert text.endswith("; lower sae.l1_coefficient or give optimise.target_l0")
    assert planted.see(60, firing=0, terms=["sparsity"]) == []  # said once


def test_one_latent_ends_the_silence(x_TD):
    planted = Planted(x_TD)
    assert planted.see(19, firing=0) + planted.see(1, firing=1) + planted.see(19, firing=0) == []


def test_a_topk_that_falls_silent_has_run_away_biases(x_TD):
    planted = Planted(x_TD)
    assert planted.see(20, firing=0) == ["nothing_fires"]
    assert planted.texts == ["no latent fired in the last 20 steps: biases have run away; lower optimise.lr (now 0.5)"]


def test_everything_fires(x_TD):
    planted = Planted(x_TD, saes.relu_l1.Config(num_latents=F, l1_coefficient=1e-4))
    assert planted.see(20, firing=F, terms=["sparsity"]) == ["everything_fires"]
    assert planted.texts[0].startswith(
        "30 of 30 latents fired per token in the last 20 steps: the l1_coefficient 0.0001"
    )
    assert planted.texts[0].endswith(
        "too weak for these activations; raise sae.l1_coefficient or give optimise.target_l0"
    )
    assert Planted(x_TD, saes.relu_l1.Config(num_latents=F)).see(90, firing=20) == []


def test_a_k_that_takes_all_latents_was_asked_for(x_TD):
    assert Planted(x_TD, saes.topk.Config(num_latents=F, k=F)).see(90, firing=F) == []


def test_a_steered_penalty_is_named_as_such(x_TD):
    planted = Planted(x_TD, saes.jumprelu.Config(num_latents=F))
    assert planted.see(20, firing=0, terms=["sparsity"]) == ["nothing_fires"]
    assert "the penalty, steered to 2.5, is too strong for these activations" in planted.texts[0]


def test_a_constant_output(x_TD):
    constant_TD = x_TD.mean(0).expand(T, D) + 1e-4 * x_TD
    assert Planted(x_TD).see(90, output_TD=constant_TD) == ["constant_output"]
    assert Planted(x_TD).see(90, output_TD=0.1 * x_TD) == []
    assert Planted(x_TD).see(90, firing=0, output_TD=constant_TD) == ["nothing_fires"]  # which says it better


def test_worse_than_nothing(x_TD):
    assert Planted(x_TD).see(90, output_TD=5 * x_TD) == ["worse_than_nothing"]
    assert Planted(x_TD).see(90, output_TD=-x_TD) == []
    assert Planted(x_TD, warmup_steps=70).see(90, output_TD=5 * x_TD) == []  # its fifth look has not come


def test_weights_that_grow(x_TD):
    planted = Planted(x_TD, tokens=1000 * T)
    with torch.no_grad():
        planted.sae.W_enc_FD.mul_(90)
    assert planted.see(400) == []
    with torch.no_grad():
        planted.sae.W_enc_FD.mul_(1000)
    assert planted.see(199) == []
    assert planted.see(1) == ["weights_explode"]
    assert planted.texts[0].startswith("W_enc_FD has grown from 0.29 to 2.6e+04")


@pytest.mark.parametrize("planted", [{"loss": float("nan")}, {"loss": float("inf")}, {"norm": float("nan")}])
def test_what_is_not_finite_ends_the_run(x_TD, planted):
    with pytest.raises(TrainingError, match=r"step 1 ended with .*lower optimise.lr \(now 0.5\)"):
        Planted(x_TD).see(1, **planted)


def test_activations_that_are_not_finite_are_told_apart(x_TD):
    x_TD[3, 4] = float("nan")
    planted = Planted(torch.ones(T, D))
    with pytest.raises(TrainingError, match="the activations of its batch are not all finite; harvest them again"):
        planted.see(1, loss=float("nan"), batch=Batch.same(x_TD))


def test_a_diverging_run_stops_and_leaves_nothing(store, tmp_path, monkeypatch):
    """Planted: a loss that overflows from the tenth step on."""
    losses = saes.topk.TopK.losses

    def overflow(self, batch, codes, output_TD, state):
        terms = losses(self, batch, codes, output_TD, state)
        return {name: term * (float("inf") if state.progress >= 0.25 else 1) for name, term in terms.items()}

    monkeypatch.setattr(saes.topk.TopK, "losses", overflow)
    with pytest.raises(TrainingError, match="the weights have run away"):
        train(store, SMALL, SHORT, out=tmp_path / "sae")
    assert not list(tmp_path.iterdir())


def test_a_warning_is_logged_once_and_kept_in_the_manifest(store, tmp_path):
    """Planted: a penalty against which nothing is worth firing."""
    config = saes.relu_l1.Config(num_latents=64, l1_coefficient=10_000)
    notes = []

    class Bar:
        def task(self, title, total, unit):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def advance(self, amount, note=""):
            notes.append(note)

    with pytest.warns(
        CollapseWarning, match="latent fired in the last 20 steps: the l1_coefficient 10000 is too strong"
    ) as caught:
        train(
            store, config, SHORT.model_copy(update={"lr": 0.1, "tokens": 12_000}), out=tmp_path / "sae", progress=Bar()
        )
    assert len(caught) == 1
    manifest = json.loads((tmp_path / "sae" / "manifest.json").read_text())
    assert [f"sae: {text}" for text in manifest["warnings"]] == [str(caught[0].message)]
    lines = [json.loads(line) for line in (tmp_path / "sae" / "metrics.jsonl").read_text().splitlines()]
    assert sum(line.get("warning/nothing_fires", 0) for line in lines) == 1
    assert "warning: nothing fires" in notes[-1]
    assert "% dead" in notes[-1]


def test_a_run_without_warnings_has_none_in_its_manifest(store, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(store, SMALL, SHORT, out=tmp_path / "sae")
    assert "warnings" not in json.loads((tmp_path / "sae" / "manifest.json").read_text())


def test_looking_does_not_touch_weights_or_the_step(x_TD):
    planted = Planted(x_TD)
    before = {name: tensor.clone() for name, tensor in planted.sae.state_dict().items()}
    output_TD = x_TD.clone()
    planted.see(50, output_TD=output_TD)
    assert all(torch.equal(tensor, before[name]) for name, tensor in planted.sae.state_dict().items())
    assert torch.equal(output_TD, x_TD)
