"""Histogram: how strongly a feature fires when it fires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 50
NUM_BANDS = 10
"""Bands are the tenths of the activation range from which examples are drawn; a band is five bins."""


@dataclass(frozen=True)
class Histogram:
    """Counts of firings in bins of equal width from ``low`` to ``high``; silence is not counted.

    ``low`` is 0 unless activations are negative, ``high`` the largest activation (0 if all are negative).
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values_N: NDArray[np.float32]) -> Histogram:
        low, high = float(values_N.min(initial=0.0)), float(values_N.max(initial=0.0))
        empty = cls(low, high, np.zeros(NUM_BINS, dtype=np.int64))
        return cls(low, high, np.bincount(empty._bins(values_N), minlength=NUM_BINS))

    def bands(self, values_N: NDArray[np.float32]) -> NDArray[np.int64]:
        """The band of every activation, 0..NUM_BANDS-1."""
        return self._bins(values_N) // (NUM_BINS // NUM_BANDS)

    def _bins(self, values_N: NDArray[np.float32]) -> NDArray[np.int64]:
        width = (self.high - self.low) or 1.0
        return np.minimum((values_N.astype(np.float64) - self.low) / width * NUM_BINS, NUM_BINS - 1).astype(np.int64)
