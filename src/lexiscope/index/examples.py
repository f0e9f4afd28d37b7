"""Which firings of a feature become examples: the strongest, some from every tenth of the range, and the weakest.

Showing only the strongest would hide what a feature does most of the time. N firings of one feature, E examples, W
tokens in a window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.config import IndexConfig
from lexiscope.index.histogram import NUM_BANDS, Histogram
from lexiscope.index.windows import Windows

_CANDIDATES_PER_EXAMPLE = 12
"""How many firings are looked at for each example, so that repeated text can be left out."""


class Example(NamedTuple):
    """One firing and the text around it."""

    section: str
    """``strongest``, ``band`` or ``weakest``."""
    band: int
    """Tenth of the activation range, 0 lowest."""
    row: int
    activation: float
    focus: int
    """Index of the firing token in the window."""
    tokens_W: NDArray[np.int32]
    activations_W: NDArray[np.float32]
    """Activation of this feature on every token of the window."""


def choose(
    rows_N: NDArray[np.int32],
    values_N: NDArray[np.float32],
    histogram: Histogram,
    windows: Windows,
    config: IndexConfig,
    random: np.random.Generator,
) -> list[Example]:
    """Examples of one feature. No text is shown twice, and within a section no context is."""
    descending_N = np.argsort(-values_N, kind="stable")
    bands_N = histogram.bands(values_N)
    chooser = _Chooser(rows_N, windows)
    chosen = [("strongest", at) for at in chooser.take(descending_N, config.strongest)]
    for band in reversed(range(NUM_BANDS)):
        inside = np.flatnonzero(bands_N == band)
        chosen += [("band", at) for at in chooser.take(_sample(inside, config.per_band, random), config.per_band)]
    weakest = np.argsort(np.abs(values_N), kind="stable")
    chosen += [("weakest", at) for at in chooser.take(weakest, config.weakest)]

    at_E = np.array([at for _, at in chosen], dtype=np.int64)
    rows_E = rows_N[at_E].astype(np.int64)
    first_E, last_E = windows.spans(rows_E)
    return [
        Example(
            section,
            int(bands_N[at]),
            int(row),
            float(values_N[at]),
            int(row - first),
            windows.tokens(first, last),
            _activations(rows_N, values_N, first, last),
        )
        for (section, at), row, first, last in zip(chosen, rows_E, first_E, last_E, strict=True)
    ]


def _sample(inside: NDArray[np.int64], wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Some firings in random order."""
    most = min(len(inside), wanted * _CANDIDATES_PER_EXAMPLE)
    return random.choice(inside, most, replace=False, shuffle=True) if most else inside[:0]


def _activations(
    rows_N: NDArray[np.int32], values_N: NDArray[np.float32], first: int, last: int
) -> NDArray[np.float32]:
    """Activations of the feature on the rows ``first <= row < last``; rows_N ascends."""
    low, high = np.searchsorted(rows_N, (first, last))
    out_W = np.zeros(last - first, dtype=np.float32)
    out_W[rows_N[low:high] - first] = values_N[low:high]
    return out_W


class _Chooser:
    """Takes firings in the order given and skips text that was taken before."""

    def __init__(self, rows_N: NDArray[np.int32], windows: Windows) -> None:
        self._rows_N = rows_N
        self._windows = windows
        self._seen: set[int] = set()

    def take(self, order: NDArray[np.int64], wanted: int) -> Iterable[int]:
        order = order[: wanted * _CANDIDATES_PER_EXAMPLE]
        rows = self._rows_N[order].astype(np.int64)
        contexts: set[int] = set()
        taken: list[int] = []
        for at, key, context in zip(
            order.tolist(), self._windows.keys(rows).tolist(), self._windows.context(rows).tolist(), strict=True
        ):
            if len(taken) == wanted:
                break
            if key not in self._seen and context not in contexts:
                self._seen.add(key)
                contexts.add(context)
                taken.append(at)
        return taken
