"""Settings of a training run, and the choices made where they say None."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.saes.repair import Repair
from lexiscope.saes.settings import SaeConfig
from lexiscope.train.normalise import Normalisation
from lexiscope.train.precision import Precision
from lexiscope.train.terms import AnyTerm


class TrainConfig(Config):
    """How to train. Tokens are activations: one token at one hook point."""

    tokens: int = Field(4_000_000, ge=1)
    """Tokens to train on in all; more than the store holds means several passes over it."""
    batch_tokens: int = Field(4096, ge=1)
    """Tokens per optimizer step."""
    lr: float | None = Field(None, gt=0)
    """Peak learning rate of Adam. None: from the number of latents and the length of the run."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps over which the learning rate rises. None: 5 % of the run, at most 1,000."""
    decay_fraction: float = Field(0.2, ge=0, le=1)
    """Last share of the run, over which the learning rate falls linearly to 0."""
    sparsity_warmup_fraction: float = Field(0.1, ge=0, le=1)
    """First share of the run, over which a sparsity penalty rises from 0."""
    target_l0: float | None = Field(None, gt=0)
    """L0 that a penalty is steered to; not for a fixed k. None: 32 if the penalty has no coefficient, else its
    coefficient stays what it is."""
    terms: tuple[AnyTerm, ...] | None = None
    """What is added to the architecture's own losses, by name: ``["auxk"]``. None: what its latents need to live."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient over all weights."""
    dead_after_tokens: int | None = Field(None, ge=1)
    """A latent silent for so many tokens is dead. None: from the length of the run. Remedies help what is dead, and the
    sooner the better: in a linear world, 1 % of a run left fewer latents dead and recovered more than 5 % of it did."""
    normalise: Normalisation = "centre"
    """The units of training; the saved weights take them over."""
    precision: Precision = "float32"
    """bfloat16 rounds activations and matrices in both passes; the optimizer always moves float32 masters."""
    repair: tuple[Repair, ...] = ()
    """What is mended before saving: ``["duplicates", "shrinkage"]``, see `lexiscope.saes.repair`."""
    weights_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """How matrices are saved. Biases and thresholds are always float32."""
    optimizer_bits: Literal[8, 32] = 32
    """Of Adam's two running means per weight; 8 for dictionaries whose moments would not fit into memory."""
    seed: int = 0
    data_seed: int | None = None
    """Order of the activations. None: follows ``seed``."""
    heldout_tokens: int = Field(16_384, ge=2)
    """Tokens of held-out documents on which the run is evaluated and the saved weights are checked."""
    log_every_steps: int = Field(50, ge=1)
    evaluate_every_steps: int = Field(500, ge=1)

    @property
    def steps(self) -> int:
        return -(-self.tokens // self.batch_tokens)


class Choice(NamedTuple):
    """A setting that was left open: what was chosen, and why."""

    value: Any
    reason: str


def resolve(config: TrainConfig, sae_config: SaeConfig, width: int) -> tuple[TrainConfig, dict[str, Choice]]:
    """Fill in what is None. Returns settings without None, and what was chosen. ``width`` is that of what is read.

    Raises:
        InputError: the settings contradict each other.
    """
    choices: dict[str, Choice] = {}
    num_latents = sae_config.latents(width)
    for name, l0 in (("k", sae_config.fixed_l0), ("target_l0", config.target_l0)):
        if l0 is not None and l0 > num_latents:
            raise InputError(f"{name} is {l0:g}, but there are only {num_latents:,} latents; lower it, or ask for more")
    if config.target_l0 is not None and sae_config.fixed_l0 is not None:
        raise InputError(
            f"target_l0 steers a penalty, but {sae_config.architecture} keeps {sae_config.fixed_l0:g} latents of every "
            "token by itself; set its k instead"
        )
    if config.target_l0 is None and sae_config.needs_target_l0:
        choices["target_l0"] = Choice(32.0, "its penalty has no coefficient of its own")
    if config.lr is None:
        choices["lr"] = _learning_rate(config.steps, sae_config, width)
    if config.warmup_steps is None:
        steps = min(1000, config.steps // 20)
        choices["warmup_steps"] = Choice(steps, f"5 % of {config.steps:,} steps, at most 1,000")
    if config.dead_after_tokens is None:
        tokens = min(10_000_000, max(16 * config.batch_tokens, config.tokens // 100))
        choices["dead_after_tokens"] = Choice(tokens, "1 % of the run, at least 16 batches and at most 10 M tokens")
    if config.terms is None:
        names = sae_config.remedies
        choices["terms"] = Choice(list(names), f"keeps the latents of {sae_config.architecture} alive")
    if config.data_seed is None:
        choices["data_seed"] = Choice(config.seed, "follows seed")
    settings = {**config.model_dump(mode="json"), **{name: choice.value for name, choice in choices.items()}}
    return TrainConfig.model_validate(settings), choices


def _learning_rate(steps: int, sae_config: SaeConfig, width: int) -> Choice:
    """The rate that Gao et al. (2024) use for runs of about 30,000 steps, higher for shorter and for narrow ones.

    Measured on a 256-wide residual stream at F = 4,096: 120 steps reach FVU 0.35 at 3e-4, 0.12 at 3e-3, 0.10 at 6e-3.
    In linear worlds, TopK, F = 8 D: best at 5e-3 to 1e-2 (4,500 steps), 1.2e-2 (1,500) and 2e-2 (500) for D = 64, at
    7e-3 (1,000) for D = 128; BatchTopK, Gated and ReLU have fewer dead at 5e-3 than at 1e-2 (1,500 steps, D = 64). At
    D = 256 twice the rate left 5 % dead, so wider ones stay at what is published: a step turns a row of unit length by
    lr · sqrt(D). Runs below 500 steps take the rate of 500: among outliers too high a rate leaves latents dead
    (`lexiscope.measure.worlds.linear.HEAVY`, D = 128: a third at 6e-3, 0.1 % at 4.5e-3).
    """
    num_latents = sae_config.latents(width)
    base = 2e-4 * (2**14 / num_latents) ** 0.5
    short = max(1.0, 30_000 / max(500, steps)) ** 0.5
    narrow = max(1.0, 256 / width) ** 0.75 if sae_config.bears_high_rates else 1.0
    factors = "2e-4 · sqrt(2^14 / F · 30,000 / max(500, steps))" + " · (256 / D)^0.75" * (narrow > 1)
    lr = min(max(base, 0.01), base * short * narrow)
    return Choice(
        lr,
        f"{factors}, at most {max(base, 0.01):g}; F = {num_latents:,}, {steps:,} steps, D = {width:,}",
    )
