"""Describe: all that the firings of one feature say, computed when somebody asks.

N firings of the feature, T tokens of the text, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.seeds import derive_seed
from lexiscope.index.concordance.firings import Rows, Values
from lexiscope.index.concordance.text import Text
from lexiscope.index.describing.examples import Example, Wanted, choose
from lexiscope.index.describing.histogram import Histogram
from lexiscope.index.describing.tokens import TokenStatistics
from lexiscope.index.describing.windows import Windows

TOKENS_BEFORE, TOKENS_AFTER = 24, 12
"""Length of a window around the token that fires; it never leaves the context."""
POSITION_EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
"""Intervals of positions in a context: each ends where the next begins, the last has no end."""
_TOKENS_KEPT = 12
_NGRAMS_KEPT = 8
_NGRAM_LENGTHS = (2, 3)
_LEAST_NGRAM = 2
"""An n-gram that is seen once says nothing."""
_MOST_COUNTED = 1 << 16
"""Firings among which n-grams are counted, evenly spaced where there are more."""
_FREQUENT = 3
_ROWS_SEARCHED = 1 << 18
"""Rows among which silent places are looked for: this many in a row, from a place that the feature's number decides."""
_CANDIDATES = 12
_MOST_CANDIDATES = 1 << 10


class NGram(NamedTuple):
    """Tokens that end where the feature fires, and the share of its firings that end them, 0..1."""

    tokens: tuple[int, ...]
    share: float


class Description(NamedTuple):
    """Attributes:
    positions: int64, firings by place in the context, in the intervals of `POSITION_EDGES`.
    """

    histogram: Histogram
    tokens: TokenStatistics
    ngrams: list[NGram]
    positions: NDArray[np.int64]
    examples: list[Example]


class Describer:
    """Knows the text that features fire on.

    Args:
        occurrences_V: how often each token occurs.
    """

    def __init__(self, text: Text, occurrences_V: NDArray[np.int64], wanted: Wanted | None = None) -> None:
        self._text, self._occurrences_V = text, occurrences_V
        self._wanted = wanted or Wanted()
        self._windows = Windows(text, TOKENS_BEFORE, TOKENS_AFTER)

    def describe(self, feature: int, rows_N: Rows, values_N: Values) -> Description:
        """What the firings of a feature say."""
        tokens_T = self._text.tokens_T
        histogram = Histogram.of(values_N)
        places_N = self._windows.places(rows_N)
        preceding_M = tokens_T[rows_N[places_N > 0] - 1]
        statistics = TokenStatistics.of(tokens_T[rows_N], values_N, preceding_M, self._occurrences_V, _TOKENS_KEPT)
        bins_N = np.searchsorted(POSITION_EDGES, places_N, side="right") - 1
        random = np.random.default_rng(derive_seed(0, "examples", feature))
        silent = self._silent(rows_N, statistics.tokens_K, random)
        return Description(
            histogram,
            statistics,
            self._ngrams(rows_N, places_N),
            np.bincount(bins_N, minlength=len(POSITION_EDGES)),
            choose(rows_N, values_N, histogram, self._windows, self._wanted, random, silent) if len(rows_N) else [],
        )

    def window(self, row: int) -> tuple[int, NDArray[np.int32]]:
        """Place of a row in the window around it, and the window's tokens."""
        first, last = (int(edge[0]) for edge in self._windows.spans(np.array([row])))
        return row - first, self._windows.tokens(first, last)

    def _ngrams(self, rows_N: Rows, places_N: NDArray[np.int64]) -> list[NGram]:
        """The longest n-grams that many firings end; a shorter one only if it ends clearly more often alone."""
        step = -(-len(rows_N) // _MOST_COUNTED) or 1
        rows_N, places_N = rows_N[::step], places_N[::step]
        found: list[NGram] = []
        explained: Counter[tuple[int, ...]] = Counter()
        for length in reversed(_NGRAM_LENGTHS):
            rows_M = rows_N[places_N >= length - 1]
            keys_M = np.zeros(len(rows_M), np.int64)
            for before in reversed(range(length)):
                keys_M = keys_M * len(self._occurrences_V) + self._text.tokens_T[rows_M - before]
            keys, counts = np.unique(keys_M, return_counts=True)
            most = np.argsort(-counts, kind="stable")[:_NGRAMS_KEPT]
            most = most[counts[most] >= _LEAST_NGRAM]
            for key, count in zip(keys[most].tolist(), counts[most].tolist(), strict=True):
                tokens = self._gram(key, length)
                if count > 2 * explained[tokens]:
                    found.append(NGram(tokens, count / len(rows_N)))
                    explained[tokens[1:]] += count
        return sorted(found, key=lambda gram: (-gram.share, -len(gram.tokens), gram.tokens))[:_NGRAMS_KEPT]

    def _gram(self, key: int, length: int) -> tuple[int, ...]:
        """The tokens that were put together as the digits of a number."""
        tokens = []
        for _ in range(length):
            key, token = divmod(key, len(self._occurrences_V))
            tokens.append(token)
        return tuple(reversed(tokens))

    def _silent(
        self, rows_N: Rows, frequent_K: NDArray[np.int32], random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows where the feature is silent: on the tokens it fires on most often, and anywhere; in random order."""
        begin = int(random.integers(max(1, self._text.num_rows - _ROWS_SEARCHED + 1)))
        wanted_V = np.zeros(len(self._occurrences_V), dtype=bool)
        wanted_V[frequent_K[:_FREQUENT]] = True
        same = np.flatnonzero(wanted_V[self._text.tokens_T[begin : begin + _ROWS_SEARCHED]]) + begin
        same = random.choice(same, min(len(same), _MOST_CANDIDATES), replace=False)
        anywhere = random.integers(self._text.num_rows, size=_CANDIDATES * self._wanted.random)
        return _not_among(same, rows_N)[: _CANDIDATES * self._wanted.silent], _not_among(anywhere, rows_N)


def _not_among(rows: NDArray[np.int64], rows_N: Rows) -> NDArray[np.int64]:
    """The rows that are not among some that ascend."""
    places = np.minimum(np.searchsorted(rows_N, rows), len(rows_N) - 1)
    return rows[rows_N[places] != rows] if len(rows_N) else rows
