"""Sparsity: how strongly a penalty presses, by a schedule or until L0 is what was asked for."""

from __future__ import annotations

import math

from lexiscope.train.schedule import sparsity_factor


class Sparsity:
    """The factor that multiplies a sparsity coefficient.

    Without a target it rises from 0 to 1 over the warm-up. With a target it is moved after every step against the error
    of L0 on a log scale: an integral controller, because L0 falls about as a power of the coefficient. It starts at the
    coefficient itself and waits for the warm-up of the learning rate, when L0 still falls by itself.
    """

    GAIN = 0.02
    """Change of log factor per step and unit of log error: about 50 steps to follow, slower than L0 answers."""
    LIMIT = 0.2
    """Largest log error that counts, so that a dense start can't wind the factor up."""

    def __init__(self, *, warmup_fraction: float, target_l0: float | None) -> None:
        self._warmup_fraction = warmup_fraction
        self._target_l0 = target_l0
        self._log_factor = 0.0

    def factor(self, progress: float) -> float:
        """For the step that starts at this share of the run."""
        return sparsity_factor(progress, self._warmup_fraction) * math.exp(self._log_factor)

    def update(self, l0: float, progress: float) -> None:
        """Take in the L0 of a step's batch; call once per optimizer step."""
        if self._target_l0 is None or progress < self._warmup_fraction:
            return
        error = math.log(max(l0, 1e-3) / self._target_l0)
        self._log_factor += self.GAIN * max(-self.LIMIT, min(self.LIMIT, error))
