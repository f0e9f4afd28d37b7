"""Spikes: batches whose loss leaps, or is not a number, and what becomes of them."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from lexiscope.core.checkpoint import Keeping

MEMORY_STEPS = 100
"""Steps that the running mean of the loss remembers."""
FIRST_STEPS = 50
"""Steps before anything finite is called a spike: at first losses fall by themselves."""


class Recovery(Keeping):
    """How a run is kept safe. Nothing here changes what is made, unless there is a spike."""

    on_spike: Literal["go_on", "skip", "rewind"] = "go_on"
    """What becomes of a batch whose loss is ``spike_factor`` times its running mean. go_on: a warning, and it is
    learned from; skip: it is left out; rewind: back to the last checkpoint, and on with the batches after it. A loss
    that is not finite stops a run that goes on, and is a spike to the others."""
    spike_factor: float = Field(10.0, gt=1)


class Spikes:
    """Judges the loss of every step by those before it."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._steps = 0
        self._mean = 0.0

    def judge(self, loss: float, *others: float) -> str | None:
        """What is wrong, as a clause; None for a step like those before it.

        Args:
            others: what must be finite too, such as the norm of the gradient.
        """
        if not all(map(math.isfinite, (loss, *others))):
            return "its loss or gradient is not finite"
        if self._steps >= FIRST_STEPS and loss > self._factor * self._mean:
            return f"its loss, {loss:.3g}, is {loss / self._mean:.0f} times the running mean"
        self._steps += 1
        self._mean += (loss - self._mean) / min(self._steps, MEMORY_STEPS)
        return None

    def state(self) -> list[float]:
        """For `restore`, ready for JSON."""
        return [self._steps, self._mean]

    def restore(self, state: list[float]) -> None:
        self._steps, self._mean = int(state[0]), state[1]
