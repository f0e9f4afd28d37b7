"""Settings left open are chosen and say why; settings given are kept."""

import pytest

from lexiscope.core.errors import InputError
from lexiscope.train.config import TrainConfig, resolve


def test_what_is_given_is_kept_and_not_reported():
    config = TrainConfig(lr=0.5, warmup_steps=3, dead_after_tokens=7)
    assert resolve(config, num_latents=100) == (config, {})


def test_what_is_open_is_chosen_with_a_reason():
    config, choices = resolve(TrainConfig(tokens=409_600, batch_tokens=4096), num_latents=4096)
    assert set(choices) == {"lr", "warmup_steps", "dead_after_tokens"}
    assert (config.lr, config.warmup_steps, config.dead_after_tokens) == tuple(c.value for c in choices.values())
    assert all(choice.reason for choice in choices.values())
    assert config.warmup_steps == 5


@pytest.mark.parametrize(
    ("num_latents", "steps", "lr"),
    [(2**14, 30_000, 2e-4), (2**14, 10**6, 2e-4), (2**12, 30_000, 4e-4), (2**12, 300, 4e-3), (2**6, 30, 1e-2)],
)
def test_learning_rate(num_latents, steps, lr):
    """Worked out by hand: the published rate from 30,000 steps on, ten times it at a hundredth, never above 0.01."""
    config, _ = resolve(TrainConfig(tokens=steps * 4096), num_latents=num_latents)
    assert config.lr == pytest.approx(lr)


def test_steps_are_rounded_up():
    assert TrainConfig(tokens=10, batch_tokens=4).steps == 3


@pytest.mark.parametrize("values", [{"epochs": 3}, {"tokens": 0}, {"grad_clip": 0}, {"decay_fraction": 1.5}])
def test_unknown_keys_and_values_out_of_range_are_refused(values):
    with pytest.raises(InputError, match=next(iter(values))):
        TrainConfig.read(values, "recipe.toml")
