"""A linear world against its own definition: dense sums, firing rates, independence, and streams that never repeat.

Oracles: the dense product of true codes and true directions; the binomial distribution; analytic moments.
"""

from itertools import islice

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.measure.worlds.linear import HEAVY, HOOK, OUTLIERS, WIDE, Config, LinearWorld, firing_probabilities

SMALL = Config(width=16, num_features=40, active=4, exponent=0.8)
TOKENS = 200_000


@pytest.fixture(scope="module")
def world():
    return LinearWorld(SMALL)


@pytest.fixture(scope="module")
def sample(world):
    return world.sample(TOKENS)


def test_activations_are_the_dense_sum_of_directions(world, sample):
    dense_TD = sample.codes.dense() @ world.directions_GD + world.offset_D
    torch.testing.assert_close(sample.x_TD, dense_TD, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(world.directions_GD.norm(dim=1), torch.ones(40))
    assert world.offset_D.norm() == 0


def test_codes_are_rows_of_ascending_features_with_positive_strengths(sample):
    codes = sample.codes
    assert (codes.num_tokens, codes.num_latents) == (TOKENS, 40)
    assert codes.offsets[0] == 0
    assert codes.offsets[-1] == len(codes)
    assert (codes.values > 0).all()
    cells = codes.tokens() * 40 + codes.latents
    assert (cells.diff() > 0).all()


def test_features_fire_as_often_as_they_should(world, sample):
    """Oracle: the binomial distribution. 40 z-scores beyond 5 happen once in 40,000 seeds."""
    p_G = world.probabilities_G
    z_G = (sample.codes.firings() - TOKENS * p_G) / (TOKENS * p_G * (1 - p_G)).sqrt()
    assert z_G.abs().max() < 5
    assert z_G.square().mean() == pytest.approx(1, abs=0.8)


def test_features_fire_independently(world, sample):
    """Oracle: a pair fires together with the product of the rates, z-scores standard normal over 780 pairs."""
    fires_TG = sample.codes.dense().ne(0).double()
    together_GG = fires_TG.T @ fires_TG
    p_GG = world.probabilities_G[:, None] * world.probabilities_G
    z_GG = (together_GG - TOKENS * p_GG) / (TOKENS * p_GG * (1 - p_GG)).sqrt()
    above = torch.triu(torch.ones(40, 40, dtype=torch.bool), diagonal=1)
    assert z_GG[above].abs().max() < 5.5
    assert z_GG[above].square().mean() == pytest.approx(1, abs=0.25)


def test_strengths_have_mean_one_and_the_spread_asked_for(sample):
    values = sample.codes.values.double()
    assert values.mean().item() == pytest.approx(1, abs=0.002)
    assert values.log().std().item() == pytest.approx(SMALL.magnitude_spread, abs=0.002)


def test_probabilities_are_a_capped_power_law_with_the_right_sum():
    p_G = firing_probabilities(SMALL)
    assert p_G.sum().item() == pytest.approx(4, abs=1e-9)
    free = p_G < SMALL.max_probability - 1e-9
    scaled = p_G[free] * torch.arange(1, 41, dtype=torch.float64)[free] ** 0.8
    torch.testing.assert_close(scaled, scaled[:1].expand_as(scaled))
    steep = firing_probabilities(
        SMALL.model_copy(update={"exponent": 3.0, "max_probability": 0.4, "num_features": 400})
    )
    assert steep.max().item() == pytest.approx(0.4)
    assert steep.sum().item() == pytest.approx(4, abs=1e-9)


def test_too_many_firings_are_refused():
    with pytest.raises(InputError, match="lower active"):
        LinearWorld(Config(num_features=8, active=4, max_probability=0.5))


def test_a_batch_depends_only_on_its_name(world):
    """The same from the middle of a stream, from another object and after the global generator was used."""
    third = list(islice(world.batches(HOOK, batch_tokens=50, seed=3), 3))[2]
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    alone = LinearWorld(SMALL).sample(50, seed=3, split="train", number=2).x_TD
    assert torch.equal(alone, third)
    assert torch.equal(torch.random.get_rng_state(), state)
    others = [
        world.sample(50, seed=4, split="train", number=2),
        world.sample(50, seed=3, split="heldout", number=2),
        world.sample(50, seed=3, split="all", number=2),
        world.sample(50, seed=3, split="train", number=1),
        LinearWorld(SMALL.model_copy(update={"seed": 1})).sample(50, seed=3, split="train", number=2),
    ]
    assert not any(torch.equal(other.x_TD, third) for other in others)


def test_epochs_are_counted_in_tokens():
    world = LinearWorld(SMALL.model_copy(update={"epoch_tokens": 100}))
    sizes = [len(x_TD) for x_TD in world.batches(HOOK, batch_tokens=64, seed=0, epochs=2)]
    assert sizes == [64, 64, 64, 8]


def test_noise_offset_and_outliers_have_the_sizes_asked_for():
    """In units of the root mean square coordinate of firings alone, measured here and not taken from the world."""
    clean = LinearWorld(Config(width=64, num_features=256, active=8))
    unit = (clean.sample(20_000).codes.values.double().square().sum() / 20_000 / 64).sqrt().item()
    assert clean.unit == pytest.approx(unit, rel=0.02)
    loud = LinearWorld(
        Config(width=64, num_features=256, active=8, noise=0.5, offset=5, outlier_dims=3, outlier_scale=60)
    )
    x_TD, codes = loud.sample(20_000)
    rest_TD = x_TD - codes.dense() @ loud.directions_GD
    mean_D, std_D = rest_TD.mean(0) / unit, rest_TD.std(0) / unit
    outliers = mean_D.abs() > 30
    assert outliers.sum() == 3
    assert mean_D[outliers].abs().mean().item() == pytest.approx(60, rel=0.2)
    assert std_D[outliers].mean().item() == pytest.approx(18, rel=0.05)
    assert std_D[~outliers].mean().item() == pytest.approx(0.5, rel=0.05)
    assert mean_D[~outliers].square().mean().sqrt().item() == pytest.approx(5, rel=0.25)


def test_presets_are_what_they_are_named_for():
    outliers, wide = LinearWorld(OUTLIERS), LinearWorld(WIDE)
    x_TD = outliers.sample(2000).x_TD
    assert x_TD.mean(0).norm() > 0.9 * x_TD.norm(dim=1).mean()
    assert x_TD.std(0).max() > 10 * x_TD.std(0).median()
    assert wide.config.num_features >= 32 * wide.config.width
    assert outliers.describe()["world"]["outlier_dims"] == 4


def test_outlier_tokens_are_as_many_and_as_long_as_asked_for():
    """The rest of the draw is what it is without them."""
    config = Config(width=64, num_features=256, active=8, sink_share=0.02, sink_scale=30)
    with_sinks, without = LinearWorld(config), LinearWorld(config.model_copy(update={"sink_share": 0.0}))
    added_TD = with_sinks.sample(20_000).x_TD - without.sample(20_000).x_TD
    sinks = added_TD.norm(dim=1) > 0
    assert sinks.double().mean().item() == pytest.approx(0.02, rel=0.2)
    lengths = added_TD[sinks].norm(dim=1)
    typical = without.sample(20_000).x_TD.square().sum(1).mean().sqrt()
    torch.testing.assert_close(lengths, lengths.mean().expand_as(lengths), rtol=1e-4, atol=0)
    assert (lengths.mean() / typical).item() == pytest.approx(30, rel=0.15)
    x_TD = LinearWorld(HEAVY).sample(5000).x_TD
    lengths_T = (x_TD - x_TD.mean(0)).norm(dim=1)
    assert 0.002 < (lengths_T > 5 * lengths_T.median()).double().mean() < 0.006
