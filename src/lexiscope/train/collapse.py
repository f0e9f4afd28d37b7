"""Guard: notices a run that has collapsed, and says what probably did it.

| sign | what is seen | what follows |
| --- | --- | --- |
| not finite | a loss or the norm of the gradient is NaN or infinite | the run stops, nothing is saved |
| nothing fires | L0 below 0.05 for 20 steps | a warning |
| everything fires | L0 above 0.9 F for 20 steps, where nothing fixes L0 | a warning |
| constant output | the output varies less than 1/1000 as much as the target, at 5 looks | a warning |
| worse than nothing | the error is above 10 times the variance of the target, at 5 looks | a warning |
| weights explode | a weight's root mean square is 100 times what it was, or what 1 is | a warning |

Each warning is given once. It costs the reading of a few numbers every 10 steps and a pass over the weights every 200;
nothing that it reads can change the run. T tokens, D model width, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import TrainingError
from lexiscope.saes import SparseAutoencoder
from lexiscope.train.config import TrainConfig
from lexiscope.train.step import Step

LOOK_STEPS = 10
"""Losses and outputs are looked at so often."""
WEIGH_STEPS = 200
"""Weights are weighed so often."""
LOOK_TOKENS = 256
"""Tokens whose outputs are compared."""
STREAK_STEPS = 20
STREAK_LOOKS = 5
NOTHING = 0.05
EVERYTHING = 0.9
CONSTANT = 1e-3
WORSE = 10.0
EXPLODED = 100.0
COEFFICIENTS = ("l1_coefficient", "coefficient")
"""What the strength of a penalty is called in settings."""


class CollapseWarning(UserWarning):
    """A run goes on that will probably be of no use."""


class Finding(NamedTuple):
    """One sign of collapse."""

    name: str
    """Short, for metrics: ``nothing_fires``."""
    text: str
    """What was seen, the likely cause, and the next move."""


class Guard:
    """Give it every step of a run; it answers with what it found for the first time."""

    def __init__(self, sae: SparseAutoencoder, config: TrainConfig) -> None:
        self._sae, self._config = sae, config
        self._said: set[str] = set()
        self._streaks: dict[str, int] = {}
        self._first_sizes = {name: _size(weights) for name, weights in sae.named_parameters()}

    @torch.no_grad()
    def look(self, step: Step) -> list[Finding]:
        """What is new.

        Raises:
            TrainingError: a loss or the gradient is not finite.
        """
        last = step.number == self._config.steps - 1
        looks = step.number % LOOK_STEPS == 0 or last
        if looks or step.spike:
            self._check_finite(step)
        found = list(self._firing(step))
        if looks and step.number >= (self._config.warmup_steps or 0):
            found += self._output(step)
        if (step.number + 1) % WEIGH_STEPS == 0 or last:
            found += self._weights()
        new = [finding for finding in found if finding.name not in self._said]
        self._said.update(finding.name for finding in new)
        return new

    def state(self) -> dict[str, Any]:
        """For `restore`, ready for JSON."""
        return {"said": sorted(self._said), "streaks": self._streaks, "first_sizes": self._first_sizes}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._said, self._streaks = set(state["said"]), dict(state["streaks"])
        self._first_sizes = dict(state["first_sizes"])

    def _check_finite(self, step: Step) -> None:
        values = {**{f"loss {name}": term.item() for name, term in step.terms.items()}, "norm": step.grad_norm.item()}
        wrong = [f"{name} {value}" for name, value in values.items() if not abs(value) < float("inf")]
        if not wrong:
            return
        seen = f"step {step.number + 1} ended with {', '.join(wrong)}"
        if not all(bool(tensor.isfinite().all()) for tensor in step.batch):
            raise TrainingError(f"{seen}: the activations of its batch are not all finite; harvest them again")
        raise TrainingError(
            f"{seen}, though the activations are finite: the weights have run away; lower optimise.lr (now "
            f"{self._config.lr:g}) or optimise.grad_clip (now {self._config.grad_clip:g})"
        )

    def _firing(self, step: Step) -> Iterator[Finding]:
        l0 = len(step.codes) / step.codes.num_tokens
        if self._lasts("nothing_fires", l0 < NOTHING, STREAK_STEPS):
            yield Finding(
                "nothing_fires",
                f"{'no latent' if l0 == 0 else 'hardly any latent'} fired in the last {STREAK_STEPS} steps: "
                f"{self._presses(step, 'too strong', 'lower')}",
            )
        everything = l0 > EVERYTHING * self._sae.num_latents > 1 and self._sae.config.fixed_l0 is None
        if self._lasts("everything_fires", everything, STREAK_STEPS):
            yield Finding(
                "everything_fires",
                f"{l0:,.0f} of {self._sae.num_latents:,} latents fired per token in the last {STREAK_STEPS} steps: "
                f"{self._presses(step, 'too weak', 'raise')}",
            )

    def _output(self, step: Step) -> Iterator[Finding]:
        output_TD, target_TD = step.output_TD[:LOOK_TOKENS].float(), step.batch.target_TD[:LOOK_TOKENS].float()
        varies, should_vary = _variance(output_TD), _variance(target_TD)
        fires = len(step.codes) >= NOTHING * step.codes.num_tokens
        if self._lasts("constant_output", fires and varies < CONSTANT * should_vary, STREAK_LOOKS):
            yield Finding(
                "constant_output",
                f"latents fire, but the output hardly depends on the input (variance {varies:.2g}, of the target "
                f"{should_vary:.2g}): the same latents fire on every token, or their codes have shrunk to nothing; "
                f"lower optimise.lr (now {self._config.lr:g}), and set optimise.normalise to centre",
            )
        error = float((output_TD - target_TD).square().mean())
        if self._lasts("worse_than_nothing", error > WORSE * should_vary, STREAK_LOOKS):
            yield Finding(
                "worse_than_nothing",
                f"the error, {error:.2g}, is {error / should_vary:.0f} times what the mean activation would leave: "
                f"steps are too large; lower optimise.lr (now {self._config.lr:g})",
            )

    def _weights(self) -> Iterator[Finding]:
        for name, weights in self._sae.named_parameters():
            size = _size(weights)
            if size > EXPLODED * max(1.0, self._first_sizes[name]):
                yield Finding(
                    "weights_explode",
                    f"{name} has grown from {self._first_sizes[name]:.2g} to {size:.2g}, root mean square: nothing "
                    f"holds it; lower optimise.lr (now {self._config.lr:g})",
                )

    def _presses(self, step: Step, verdict: str, move: str) -> str:
        """The likely cause of a wrong L0."""
        if "sparsity" not in step.terms:
            return f"biases have run away; lower optimise.lr (now {self._config.lr:g})"
        config = self._sae.config
        key, options = ("sae.activation", config.activation) if hasattr(config, "activation") else ("sae", config)
        for name in COEFFICIENTS:
            if (value := getattr(options, name, None)) is not None and self._config.target_l0 is None:
                remedy = f"{move} {key}.{name} or give optimise.target_l0"
                return f"the {name} {value:g} is {verdict} for these activations; {remedy}"
        return (
            f"the penalty, steered to {step.sparsity_scale:.2g}, is {verdict} for these activations; lower optimise.lr "
            f"(now {self._config.lr:g})"
        )

    def _lasts(self, name: str, now: bool, long_enough: int) -> bool:
        self._streaks[name] = self._streaks.get(name, 0) + 1 if now else 0
        return self._streaks[name] >= long_enough


def _variance(x_TD: Tensor) -> float:
    return float((x_TD - x_TD.mean(0)).square().mean())


def _size(weights: Tensor) -> float:
    return math.sqrt(float(torch.linalg.vector_norm(weights.detach()).square()) / max(1, weights.numel()))
