"""The controller of L0 against plants of known law, and against real dictionaries on a small world."""

import itertools
import json
import math
import random

import pytest

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.saes import Batch
from lexiscope.saes.jumprelu import STEER
from lexiscope.train import train
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.sparsity import Sparsity
from lexiscope.train.trainer import Trainer


def test_without_a_target_the_factor_warms_up_and_stays():
    sparsity = Sparsity(warmup_fraction=0.1, target_l0=None)
    assert [sparsity.factor(progress) for progress in (0.0, 0.05, 0.1, 0.7)] == [0, 0.5, 1, 1]


def learn(answer, steps, start_l0, target_l0=32.0, power=0.0):
    """L0 of every step.

    ``answer``: how log L0 moves, from log L0, the log of the factor, and progress. ``power``: L0 falls as this power of
    thresholds that are steered besides.
    """
    rng = random.Random(0)
    sparsity = Sparsity(warmup_fraction=0.1, target_l0=target_l0)
    x, seen = math.log(start_l0), []
    for step in range(steps):
        progress = step / steps
        lr = min(1.0, (1 - progress) / 0.2)
        x += lr * answer(x, math.log(sparsity.factor(progress)), progress)
        seen.append(math.exp(x + rng.gauss(0, 0.01)))
        x -= power * STEER * sparsity.update(seen[-1], progress)
    return seen


def settles(seen, target_l0=32.0):
    end = seen[-len(seen) // 20 :]
    return abs(sum(end) / len(end) / target_l0 - 1) < 0.05


@pytest.mark.parametrize(
    ("power", "lag", "needed", "start_l0", "steps"),
    [*itertools.product([0.5, 1.0], [5, 25], [0.03, 1, 30], [128, 2000], [500, 3000]), (0.5, 10, 1, 8, 500)],
)
def test_l0_that_falls_as_a_power_of_the_coefficient_is_held(power, lag, needed, start_l0, steps):
    """ReLU and Gated: L0 goes to 32 (λ / needed)^-power with some lag. What is needed falls by half on the way."""

    def answer(x, log_factor, progress):
        goal = math.log(32) - power * (log_factor - math.log(needed) + math.log(2) * progress)
        return (min(goal, math.log(4000)) - x) / lag

    assert settles(learn(answer, steps, start_l0))


@pytest.mark.parametrize(
    ("speed", "needed", "steps"), [*itertools.product([0.001, 0.02, 0.1], [0.1, 1, 10], [500, 3000])]
)
def test_l0_that_moves_at_a_bounded_speed_is_held(speed, needed, steps):
    """JumpReLU: Adam moves thresholds at a constant speed, up or down as the penalty is above or below what they bear.

    At a fiftieth of that speed too, where a run is over before they would have come anywhere.
    """

    def answer(x, log_factor, progress):
        return -speed * math.tanh(2 * (log_factor - math.log(needed) + math.log(32) - x))

    for start_l0, power in itertools.product([16, 128], [2, 8]):
        assert settles(learn(answer, steps, start_l0, power=power))


CONFIGS = {
    "l1": saes.relu_l1.Config(num_latents=64),
    "decoder_norm": saes.relu_l1.Config(num_latents=64, penalty="decoder_norm"),
    "p_anneal": saes.relu_l1.Config(num_latents=64, p_end=0.3),
    "gated": saes.gated.Config(num_latents=64),
    "l0": saes.jumprelu.Config(num_latents=64),
    "tanh": saes.jumprelu.Config(num_latents=64, penalty="tanh"),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("target_l0", [2, 4])
def test_dictionaries_reach_their_target_in_training_and_as_saved(store, tmp_path, name, target_l0):
    """Within 5 % over the last steps, and of the saved weights on held-out activations."""
    config = TrainConfig(tokens=200_000, batch_tokens=500, target_l0=target_l0, log_every_steps=1)
    sae = train(store, CONFIGS[name], config, out=tmp_path / "sae")
    lines = (tmp_path / "sae" / "metrics.jsonl").read_text().splitlines()
    seen = [json.loads(line)["l0"] for line in lines]
    assert sum(seen[-10:]) / 10 == pytest.approx(target_l0, rel=0.05)
    assert sae.artifact.manifest["heldout"]["l0"] == pytest.approx(target_l0, rel=0.05)


def test_what_has_no_penalty_is_not_steered(store):
    """Planted: a term of that name is what the controller moves."""

    class Free(saes.relu_l1.ReluL1):
        def losses(self, *args):
            return {"reconstruction": super().losses(*args)["reconstruction"]}

    x_TD = store.x_TD[:500]
    free = Free.from_sample(saes.relu_l1.Config(num_latents=64), Batch.same(x_TD))
    config, _ = resolve(TrainConfig(target_l0=2), free.config, 24)
    with pytest.raises(InputError, match="no penalty that target_l0 could steer"):
        Trainer(free, config).step(Batch.same(x_TD))
