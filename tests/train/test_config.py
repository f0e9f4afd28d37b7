"""Settings left open are chosen and say why; settings given are kept."""

import pytest

from lexiscope.core.errors import InputError
from lexiscope.saes import jumprelu, matching_pursuit, matryoshka, topk, transcoder
from lexiscope.train.config import TrainConfig, resolve


def test_what_is_given_is_kept_and_not_reported():
    config = TrainConfig(lr=0.5, warmup_steps=3, dead_after_tokens=7, terms=["auxk"], data_seed=3)
    assert resolve(config, topk.Config(num_latents=100), 8) == (config, {})


def test_what_is_open_is_chosen_with_a_reason():
    config, choices = resolve(TrainConfig(tokens=409_600, batch_tokens=4096), topk.Config(num_latents=4096), 8)
    assert set(choices) == {"lr", "warmup_steps", "dead_after_tokens", "terms", "data_seed"}
    chosen = {name: choice.value for name, choice in choices.items()}
    assert config == TrainConfig(tokens=409_600, batch_tokens=4096, **chosen)
    assert chosen["terms"] == ["auxk"]
    assert all(choice.reason for choice in choices.values())
    assert config.warmup_steps == 5


@pytest.mark.parametrize(
    ("num_latents", "steps", "width", "lr"),
    [
        (2**14, 30_000, 256, 2e-4),
        (2**14, 10**6, 4096, 2e-4),
        (2**12, 30_000, 256, 4e-4),
        (2**12, 1_200, 512, 2e-3),
        (2**12, 300, 512, 4e-4 * 60**0.5),
        (2**14, 30_000, 16, 1.6e-3),
        (2**6, 30, 256, 1e-2),
    ],
)
def test_learning_rate(num_latents, steps, width, lr):
    """By hand: as published for 30,000 steps, 5 times it at a 25th, 8 times at D = 16; at most 0.01."""
    config, _ = resolve(TrainConfig(tokens=steps * 4096), topk.Config(num_latents=num_latents), width)
    assert config.lr == pytest.approx(lr)


def test_steps_are_rounded_up():
    assert TrainConfig(tokens=10, batch_tokens=4).steps == 3


@pytest.mark.parametrize("values", [{"epochs": 3}, {"tokens": 0}, {"grad_clip": 0}, {"decay_fraction": 1.5}])
def test_unknown_keys_and_values_out_of_range_are_refused(values):
    with pytest.raises(InputError, match=next(iter(values))):
        TrainConfig.read(values, "recipe.toml")


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (["no_such_term"], "no term is called 'no_such_term'"),
        ([{"name": "auxk", "strength": 1}], "strength"),
        ([{"coefficient": 1}], "the term has no name; there are "),
    ],
)
def test_terms_that_are_not_there_are_refused(terms, message):
    with pytest.raises(InputError, match=message):
        TrainConfig.read({"terms": terms}, "recipe.toml")


def test_terms_round_trip_through_a_manifest():
    config = TrainConfig(terms=[{"name": "auxk", "coefficient": 0.1}])
    assert TrainConfig.read(config.model_dump(mode="json"), "manifest") == config


@pytest.mark.parametrize(
    "sae_config",
    [
        topk.Config(k=16),
        matryoshka.Config(),
        transcoder.Config(activation={"name": "batch_topk", "k": 2.5}),
        matching_pursuit.Config(),
    ],
)
def test_a_target_for_what_has_a_fixed_k_is_refused(sae_config):
    with pytest.raises(InputError, match=f"{sae_config.architecture} keeps .* set its k"):
        resolve(TrainConfig(target_l0=32), sae_config, 8)


def test_l0_is_steered_where_a_penalty_has_no_coefficient():
    config, choices = resolve(TrainConfig(), transcoder.Config(activation="jumprelu"), 8)
    assert config.target_l0 == choices["target_l0"].value == 32
    assert resolve(TrainConfig(target_l0=8), jumprelu.Config(), 8)[0].target_l0 == 8
    assert resolve(TrainConfig(), jumprelu.Config(coefficient=0.1), 8)[0].target_l0 is None
