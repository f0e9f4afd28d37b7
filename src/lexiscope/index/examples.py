"""Which firings of a feature become examples: the strongest, some from every tenth of the range, and the weakest.

Showing only the strongest would hide what a feature does most of the time. N firings of one feature, E examples, W
tokens in a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class _Group(NamedTuple):
    """Firings from which some examples are taken, in this order."""

    section: str
    wanted: int
    candidates: NDArray[np.int64]


def choose(
    rows_N: NDArray[np.int32],
    values_N: NDArray[np.float32],
    histogram: Histogram,
    windows: Windows,
    config: IndexConfig,
    random: np.random.Generator,
) -> list[Example]:
    """Examples of one feature. No text is shown twice, and within a section no context is."""
    bands_N = histogram.bands(values_N)
    by_band = np.argsort(bands_N.astype(np.uint8), kind="stable")
    starts = np.searchsorted(bands_N[by_band], np.arange(NUM_BANDS + 1))
    groups = [_Group("strongest", config.strongest, _smallest(-values_N, config.strongest))]
    for band in reversed(range(NUM_BANDS)):
        inside = by_band[starts[band] : starts[band + 1]]
        groups.append(_Group("band", config.per_band, _sample(inside, config.per_band, random)))
    groups.append(_Group("weakest", config.weakest, _smallest(np.abs(values_N), config.weakest)))
    chosen = list(_without_repeats(groups, rows_N, windows))

    at_E = np.array([at for _, at in chosen], dtype=np.int64)
    rows_E = rows_N[at_E].astype(np.int64)
    first_E, last_E = windows.spans(rows_E)
    low_E, high_E = np.searchsorted(rows_N, first_E), np.searchsorted(rows_N, last_E)
    examples = []
    for (section, at), row, first, last, low, high in zip(
        chosen, *(column.tolist() for column in (rows_E, first_E, last_E, low_E, high_E)), strict=True
    ):
        activations_W = np.zeros(last - first, dtype=np.float32)
        activations_W[rows_N[low:high] - first] = values_N[low:high]
        tokens_W = windows.tokens(first, last)
        examples.append(
            Example(section, int(bands_N[at]), row, float(values_N[at]), row - first, tokens_W, activations_W)
        )
    return examples


def _smallest(keys_N: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
    """Candidates with the smallest keys, ascending; the earlier firing first where keys are equal."""
    most = wanted * _CANDIDATES_PER_EXAMPLE
    if len(keys_N) <= most:
        return np.argsort(keys_N, kind="stable")
    limit = np.partition(keys_N, most)[most]
    below = np.flatnonzero(keys_N < limit)
    level = np.flatnonzero(keys_N == limit)[: most - len(below)]
    inside = np.concatenate([below, level])
    return inside[np.argsort(keys_N[inside], kind="stable")]


def _sample(inside: NDArray[np.int64], wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Some firings in random order."""
    most = min(len(inside), wanted * _CANDIDATES_PER_EXAMPLE)
    return random.choice(inside, most, replace=False, shuffle=True) if most else inside[:0]


def _without_repeats(
    groups: Sequence[_Group], rows_N: NDArray[np.int32], windows: Windows
) -> Iterator[tuple[str, int]]:
    """Section and index of the firings that become examples: the first of each text, and of each context in a group."""
    rows = rows_N[np.concatenate([group.candidates for group in groups])].astype(np.int64)
    keys, contexts_of = windows.keys(rows).tolist(), windows.context(rows).tolist()
    start = 0
    seen: set[int] = set()
    for group in groups:
        stop = start + len(group.candidates)
        contexts: set[int] = set()
        for at, key, context in zip(group.candidates.tolist(), keys[start:stop], contexts_of[start:stop], strict=True):
            if len(contexts) < group.wanted and key not in seen and context not in contexts:
                seen.add(key)
                contexts.add(context)
                yield group.section, at
        start = stop
