"""Interpolated, modified Kneser-Ney 3-gram: the baseline that the demo model has to beat.

Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling": three discounts per order,
counts of continuations below the highest order, a uniform distribution at the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """Counts of one order: sorted n-gram keys with their counts, and per history what interpolation needs."""

    keys: Keys
    counts: Keys
    histories: Keys
    totals: Keys
    backoff: NDArray[np.float64]
    discounts: NDArray[np.float64]

    @classmethod
    def of(cls, keys: Keys, counts: Keys, vocabulary: int) -> Order:
        """From distinct keys (history · V + token), sorted, and their counts."""
        seen = [max(1, int((counts == n).sum())) for n in (1, 2, 3, 4)]
        base = seen[0] / (seen[0] + 2 * seen[1])
        found = [n - (n + 1) * base * seen[n] / seen[n - 1] for n in (1, 2, 3)]
        discounts = np.array([0.0, *np.clip(found, 0, (1, 2, 3))])
        histories, starts = np.unique(keys // vocabulary, return_index=True)
        totals = np.add.reduceat(counts, starts)
        backoff = np.add.reduceat(discounts[np.minimum(counts, 3)], starts) / totals
        return cls(keys, counts, histories, totals, backoff, discounts)

    def mix(self, query: Keys, vocabulary: int, lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each n-gram, given the probability of its token at the order below."""
        history, known = _find(self.histories, query // vocabulary)
        gram, present = _find(self.keys, query)
        counts = np.where(present, self.counts[gram], 0)
        direct = (counts - self.discounts[np.minimum(counts, 3)]) / self.totals[history]
        return np.where(known, direct + self.backoff[history] * lower, lower)


class KneserNey:
    """A 3-gram model over tokens 0..vocabulary-1."""

    def __init__(self, tokens: Keys, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        trigrams, counts = np.unique(_grams(tokens, vocabulary), return_counts=True)
        self.three = Order.of(trigrams, counts, vocabulary)
        # How many different tokens stand before each pair, and before each token.
        pairs, before = np.unique(trigrams % vocabulary**2, return_counts=True)
        self.two = Order.of(pairs, before, vocabulary)
        singles, before = np.unique(pairs % vocabulary, return_counts=True)
        self.one = Order.of(singles, before, vocabulary)

    def log_probabilities(self, tokens: Keys) -> NDArray[np.float64]:
        """Ln p of tokens 2, 3, ... given the two before each."""
        grams = _grams(tokens, self.vocabulary)
        uniform = np.full(len(grams), 1 / self.vocabulary)
        one = self.one.mix(grams % self.vocabulary, self.vocabulary, uniform)
        two = self.two.mix(grams % self.vocabulary**2, self.vocabulary, one)
        return np.log(self.three.mix(grams, self.vocabulary, two))


def _grams(tokens: Keys, vocabulary: int) -> Keys:
    tokens = tokens.astype(np.int64)
    return (tokens[:-2] * vocabulary + tokens[1:-1]) * vocabulary + tokens[2:]


def _find(table: Keys, query: Keys) -> tuple[Keys, NDArray[np.bool_]]:
    place = np.minimum(np.searchsorted(table, query), len(table) - 1)
    return place, table[place] == query
