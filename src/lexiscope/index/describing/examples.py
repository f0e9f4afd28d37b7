"""Which places of the text become examples of a feature: the strongest firings, some from every tenth of the range, the
weakest, and places where it is silent.

Showing only the strongest would hide what a feature does most of the time. N firings of one feature, E examples, W
tokens in a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.describing.histogram import NUM_BANDS, Histogram
from lexiscope.index.describing.windows import Windows

_CANDIDATES_PER_EXAMPLE = 12
"""How many firings are looked at for each example, so that repeated text can be left out."""


class Wanted(NamedTuple):
    """How many examples of each sort."""

    strongest: int = 20
    """With the highest activations, from different contexts."""
    per_band: int = 4
    """Drawn from each tenth of the activation range."""
    weakest: int = 4
    silent: int = 6
    """Where it is silent on the tokens that it fires on most often."""
    random: int = 4
    """Drawn from all of the text where it is silent."""


class Example(NamedTuple):
    """One place and the text around it."""

    section: str
    """``strongest``, ``band``, ``weakest``, ``silent`` or ``random``."""
    band: int
    """Tenth of the activation range, 0 lowest; -1 where it is silent."""
    row: int
    activation: float
    focus: int
    """Index of the firing token in the window."""
    tokens_W: NDArray[np.int32]
    activations_W: NDArray[np.float32]
    """Activation of this feature on every token of the window."""


class _Group(NamedTuple):
    """Rows from which some examples are taken, in this order."""

    section: str
    wanted: int
    rows: NDArray[np.int64]


def choose(
    rows_N: NDArray[np.int64],
    values_N: NDArray[np.float32],
    histogram: Histogram,
    windows: Windows,
    wanted: Wanted,
    random: np.random.Generator,
    silent: Sequence[NDArray[np.int64]] = (),
) -> list[Example]:
    """Examples of one feature. No text is shown twice, and within a section no context is.

    Args:
        silent: rows where it is silent, in the order in which they are to be taken: on its own tokens, and anywhere.
    """
    bands_N = histogram.bands(values_N)
    by_band = np.argsort(bands_N.astype(np.uint8), kind="stable")
    starts = np.searchsorted(bands_N[by_band], np.arange(NUM_BANDS + 1))
    groups = [_Group("strongest", wanted.strongest, rows_N[_smallest(-values_N, wanted.strongest)])]
    for band in reversed(range(NUM_BANDS)):
        inside = by_band[starts[band] : starts[band + 1]]
        groups.append(_Group("band", wanted.per_band, rows_N[_sample(inside, wanted.per_band, random)]))
    groups.append(_Group("weakest", wanted.weakest, rows_N[_smallest(np.abs(values_N), wanted.weakest)]))
    groups += map(_Group, ("silent", "random"), (wanted.silent, wanted.random), silent)
    chosen = list(_without_repeats(groups, windows))

    rows_E = np.array([row for _, row in chosen], dtype=np.int64)
    first_E, last_E = windows.spans(rows_E)
    low_E, high_E = np.searchsorted(rows_N, first_E), np.searchsorted(rows_N, last_E)
    examples = []
    for (section, row), first, last, low, high in zip(
        chosen, *(column.tolist() for column in (first_E, last_E, low_E, high_E)), strict=True
    ):
        activations_W = np.zeros(last - first, dtype=np.float32)
        activations_W[rows_N[low:high] - first] = values_N[low:high]
        activation = activations_W[row - first]
        band = int(histogram.bands(activations_W[row - first : row - first + 1])[0]) if activation else -1
        tokens_W = windows.tokens(first, last)
        examples.append(Example(section, band, row, float(activation), row - first, tokens_W, activations_W))
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


def _without_repeats(groups: Sequence[_Group], windows: Windows) -> Iterator[tuple[str, int]]:
    """Section and row of what becomes an example: the first of each text, and of each context in a group."""
    rows = np.concatenate([group.rows for group in groups])
    keys, contexts_of = windows.keys(rows).tolist(), windows.context(rows).tolist()
    start = 0
    seen: set[int] = set()
    for group in groups:
        stop = start + len(group.rows)
        contexts: set[int] = set()
        for row, key, context in zip(group.rows.tolist(), keys[start:stop], contexts_of[start:stop], strict=True):
            if len(contexts) < group.wanted and key not in seen and context not in contexts:
                seen.add(key)
                contexts.add(context)
                yield group.section, row
        start = stop
