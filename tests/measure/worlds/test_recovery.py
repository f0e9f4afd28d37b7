"""Recovery of truth: dictionaries whose score is known by hand, and a training that finds most of a small world.

Oracles: permutations, halves and doubles of the truth; the pseudo-inverse of independent directions as a perfect
encoder; random directions as the null.
"""

import math

import pytest
import torch

from lexiscope import saes
from lexiscope.core.codes import SparseCodes
from lexiscope.measure.worlds.linear import HOOK, Config, LinearWorld
from lexiscope.measure.worlds.recovery import match, score
from lexiscope.saes import topk
from lexiscope.train import TrainConfig, train


@pytest.fixture
def true_GD():
    return torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0))).Q[:20]


class Perfect:
    """Knows the truth: with no more features than dimensions the pseudo-inverse gives every strength back."""

    def __init__(self, world: LinearWorld) -> None:
        self.directions_FD, self._offset_D = world.directions_GD, world.offset_D

    def encode(self, x_TD):
        strengths_TG = (x_TD - self._offset_D) @ torch.linalg.pinv(self.directions_FD)
        return SparseCodes.from_dense(strengths_TG * (strengths_TG > 0.01))

    def decode(self, codes):
        return codes.dense() @ self.directions_FD + self._offset_D


def test_the_truth_in_another_order_and_length_is_recovered(true_GD):
    found = match(true_GD, true_GD.flip(0) * torch.linspace(0.1, 9, 20)[:, None])
    assert (found.mmcs, found.mmcs_learned, found.recovered, found.uniqueness) == pytest.approx((1, 1, 1, 1))
    assert found.feature_of_learned_F.tolist() == list(range(19, -1, -1))


def test_signs_count_and_zero_rows_match_nothing(true_GD):
    opposite = match(true_GD, -true_GD)
    assert opposite.mmcs == pytest.approx(0, abs=1e-6)  # another feature at a right angle is nearer than the opposite
    nothing = match(true_GD, torch.zeros(3, 32))
    assert (nothing.mmcs, nothing.recovered) == (0, 0)
    assert math.isnan(nothing.uniqueness)


def test_half_of_the_truth_and_doubles_of_it(true_GD):
    half = match(true_GD, true_GD[:10])
    assert (half.mmcs, half.mmcs_learned, half.recovered, half.uniqueness) == pytest.approx((0.5, 1, 0.5, 1), abs=1e-5)
    doubled = match(true_GD, torch.cat([true_GD, true_GD[:5], torch.zeros(7, 32)]))
    assert (doubled.recovered, doubled.uniqueness) == (1, 20 / 25)


def test_a_known_angle(true_GD):
    tilted = math.cos(0.4) * true_GD + math.sin(0.4) * true_GD.roll(1, 0)
    assert match(true_GD, tilted).mmcs == pytest.approx(math.cos(0.4), abs=1e-5)
    assert match(true_GD, tilted).recovered == 1
    wider = math.cos(0.5) * true_GD + math.sin(0.5) * true_GD.roll(1, 0)
    assert match(true_GD, wider).recovered == 0  # cos 0.5 = 0.878


def test_blocks_do_not_matter(true_GD):
    learned_FD = torch.randn(50, 32, generator=torch.Generator().manual_seed(1))
    for one, other in zip(match(true_GD, learned_FD), match(true_GD, learned_FD, block=7), strict=True):
        torch.testing.assert_close(one, other)


def test_random_directions_score_as_chance_does():
    """Oracle: the largest of F independent cosines of deviation 1 / sqrt(D) is about sqrt(2 ln F / D), from below."""
    draw = torch.Generator().manual_seed(0)
    found = match(torch.randn(300, 64, generator=draw), torch.randn(1000, 64, generator=draw))
    assert 0.8 < found.mmcs / math.sqrt(2 * math.log(1000) / 64) < 1
    assert found.recovered == 0


def test_a_perfect_dictionary_has_perfect_scores():
    world = LinearWorld(Config(width=24, num_features=20, active=3, offset=2))
    found = score(world, Perfect(world), tokens=8192)
    truth = world.sample(4096, split="heldout", number=0).codes
    again = world.sample(4096, split="heldout", number=1).codes
    assert (found.mmcs, found.recovered, found.dead) == pytest.approx((1, 1, 0))
    assert found.fve == pytest.approx(1, abs=1e-5)
    assert found.l0 == pytest.approx((len(truth) + len(again)) / 8192, abs=1e-3)


def test_a_latent_that_never_fires_is_dead_and_costs_variance():
    world = LinearWorld(Config(width=24, num_features=20, active=3, exponent=0))
    perfect = Perfect(world)
    encode = perfect.encode

    def without_first(x_TD):
        codes_TG = encode(x_TD).dense()
        codes_TG[:, 0] = 0
        return SparseCodes.from_dense(codes_TG)

    perfect.encode = without_first
    found = score(world, perfect, tokens=8192)
    assert found.dead == 1 / 20
    assert 0.9 < found.fve < 0.99  # one of 20 equal features is missing


def test_training_on_a_world_finds_it_and_the_nulls_do_not(tmp_path):
    world = LinearWorld(Config(width=24, num_features=48, active=3))
    config = topk.Config(num_latents=48, k=3)
    trained = train(world, config, TrainConfig(tokens=300_000, batch_tokens=1000), out=tmp_path / "sae")
    sample_TD = world.sample(2000).x_TD
    untrained = saes.create(config, saes.Batch.same(sample_TD))
    scores = {name: score(world, sae, tokens=16_384) for name, sae in (("trained", trained), ("untrained", untrained))}
    assert scores["trained"].mmcs > 0.9
    assert scores["trained"].recovered > 0.8
    assert scores["trained"].fve > 0.8
    assert scores["untrained"].mmcs < 0.6
    assert scores["untrained"].recovered == 0
    assert scores["untrained"].fve < 0.6
    assert trained.artifact.manifest["sources"] == world.describe()
    assert world.hooks == [HOOK]
    assert world.width(HOOK) == 24
