"""Unusual: how far each feature lies from the middle of the dictionary, and in which of its numbers most.

    deviation of a number = (its value - median) / (1.4826 · median absolute deviation), over the live features
    unusual = √Σ deviation²

Medians, as the very features that are looked for would move means. F features, L of them live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.feature import Oddity, Trait

Columns = Mapping[str, NDArray[Any]]
_OF_A_BELL = 1.4826
"""Standard deviations per median absolute deviation, of a normal distribution."""
_NUMBERS: dict[Trait, Callable[[Columns], NDArray[np.floating]]] = {
    "density": lambda of: np.log(np.maximum(of["firings"], 1)),
    "peak": lambda of: np.log(
        np.maximum(np.abs(of["max_activation"]), 1e-12) / np.maximum(np.abs(of["mean_activation"]), 1e-12)
    ),
    "variety": lambda of: np.log(np.maximum(of["variety"], 1)),
    "per_document": lambda of: np.log(np.maximum(of["firings"], 1) / np.maximum(of["documents"], 1)),
    "effects_kurtosis": lambda of: np.log1p(np.maximum(of["effects_kurtosis"], 0)),
    "nearest_cosine": lambda of: of["nearest_cosine"].astype(np.float64),
}
assert tuple(_NUMBERS) == get_args(Trait)


class _Middle(NamedTuple):
    median: float
    deviation: float
    """inf where all features are alike, so that none deviates."""


class Unusual:
    """Worked out when it is first asked for: 4 bytes per feature. Safe to share between threads."""

    def __init__(self, columns: Columns, live_L: NDArray[np.int32]) -> None:
        self._columns, self._live_L = columns, live_L

    @cached_property
    def distances_F(self) -> NDArray[np.float32]:
        """0 is the very middle, and for dead features."""
        squares_F = np.zeros(len(self._columns["firings"]), np.float32)
        for trait, number in _NUMBERS.items():
            middle = self._middles[trait]
            squares_F += ((number(self._columns) - middle.median) / middle.deviation) ** 2
        squares_F[self._columns["firings"] == 0] = 0
        return np.sqrt(squares_F)

    def of(self, features: Sequence[int]) -> dict[int, Oddity]:
        """How some features deviate; the dead ones are left out."""
        chosen = np.array(features, np.int64)
        chosen = chosen[self._columns["firings"][chosen] > 0]
        few = {name: column[chosen] for name, column in self._columns.items()}
        deviations_TN = np.stack(
            [
                (number(few) - self._middles[trait].median) / self._middles[trait].deviation
                for trait, number in _NUMBERS.items()
            ]
        )
        most_N = np.abs(deviations_TN).argmax(0)
        return {
            feature: Oddity(unusual=unusual, trait=get_args(Trait)[most], deviation=deviation, nearest_cosine=cosine)
            for feature, unusual, most, deviation, cosine in zip(
                chosen.tolist(),
                np.sqrt((deviations_TN**2).sum(0)).tolist(),
                most_N.tolist(),
                deviations_TN[most_N, np.arange(len(chosen))].tolist(),
                few["nearest_cosine"].tolist(),
                strict=True,
            )
        }

    @cached_property
    def _middles(self) -> dict[Trait, _Middle]:
        live = {name: column[self._live_L] for name, column in self._columns.items()}
        middles: dict[Trait, _Middle] = {}
        for trait, number in _NUMBERS.items():
            values_L = number(live)
            median = float(np.median(values_L)) if len(values_L) else 0.0
            spread = float(np.median(np.abs(values_L - median))) * _OF_A_BELL if len(values_L) else 0.0
            middles[trait] = _Middle(median, spread or np.inf)
        return middles
