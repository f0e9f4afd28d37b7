"""Sparsity: how strongly a penalty presses, by a schedule or until L0 is what was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lexiscope.train.schedule import sparsity_factor


class Sparsity:
    """The factor that multiplies a sparsity coefficient.

    Without a target it rises from 0 to 1 over the warm-up. With a target it follows L0, on log scales because L0 falls
    about as a power of the coefficient:

        e = log(L0 / reference),   log factor = I + P e,   I ← I + G e       after every step

    The reference goes from the first L0 to the target over the warm-up, geometrically, so that neither a dense start
    nor a sparse one can wind up the integral I. Thresholds, which gradients move by a learning rate per step and no
    faster, follow e directly besides (`SparseAutoencoder.steer`).
    """

    P = 2.0
    G = 0.1
    """Per step: P / G, 20 steps, is how long the integral takes to do what the proportional part does at once."""
    LIMIT = 1.0
    """Largest |e| that counts."""

    def __init__(self, *, warmup_fraction: float, target_l0: float | None) -> None:
        self._warmup_fraction = warmup_fraction
        self._target_l0 = target_l0
        self._first_l0: float | None = None
        self._integral = 0.0
        self._error = 0.0

    def factor(self, progress: float) -> float:
        """For the step that starts at this share of the run."""
        if self._target_l0 is None:
            return sparsity_factor(progress, self._warmup_fraction)
        return math.exp(self._integral + self.P * self._error)

    def state(self) -> list[float | None]:
        """For `restore`, ready for JSON."""
        return [self._first_l0, self._integral, self._error]

    def restore(self, state: Sequence[float | None]) -> None:
        first, integral, error = state
        self._first_l0, self._integral, self._error = first, integral or 0.0, error or 0.0

    def update(self, l0: float, progress: float) -> float:
        """Take in the L0 of a step's batch, once per optimizer step; returns e."""
        assert self._target_l0 is not None
        l0 = max(l0, 1e-3)
        self._first_l0 = self._first_l0 or l0
        done = sparsity_factor(progress, self._warmup_fraction)
        reference = self._first_l0 ** (1 - done) * self._target_l0**done
        self._error = max(-self.LIMIT, min(self.LIMIT, math.log(l0 / reference)))
        self._integral += self.G * self._error
        return self._error
