"""Token statistics: which tokens a feature fires on, and how much of each token's occurrences that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenStatistics:
    """The tokens with most firings, most frequent first. K tokens are kept.

    Attributes:
        tokens_K: token ids.
        shares_K: share of the feature's firings that are on this token, 0..1.
        coverages_K: share of the token's occurrences in the store on which the feature fires, 0..1.
        means_K: mean activation over the firings on this token.
        preceding_K: the tokens that most often stand right before a firing.
        preceding_shares_K: share of the firings that have it before them, 0..1.
        variety: exp of the entropy of the tokens fired on: 1 = always the same token (or none), n = n tokens equally
            often.
    """

    tokens_K: NDArray[np.int32]
    shares_K: NDArray[np.float32]
    coverages_K: NDArray[np.float32]
    means_K: NDArray[np.float32]
    preceding_K: NDArray[np.int32]
    preceding_shares_K: NDArray[np.float32]
    variety: float

    @classmethod
    def of(
        cls,
        tokens_N: NDArray[np.int32],
        values_N: NDArray[np.float32],
        preceding_M: NDArray[np.int32],
        occurrences_V: NDArray[np.int64],
        keep: int,
    ) -> TokenStatistics:
        """Statistics of one feature from the token and the activation of each of its N firings.

        Args:
            preceding_M: the token before each firing, without those at the start of a context.
        """
        tokens, counts = _count(tokens_N)
        sums_V = np.bincount(tokens_N, weights=values_N)
        shares = counts / max(len(tokens_N), 1)
        before, before_counts = _count(preceding_M)
        best, most_before = _most(counts, keep), _most(before_counts, keep)
        return cls(
            tokens[best].astype(np.int32),
            shares[best].astype(np.float32),
            (counts[best] / occurrences_V[tokens[best]]).astype(np.float32),
            (sums_V[tokens[best]] / counts[best]).astype(np.float32),
            before[most_before].astype(np.int32),
            (before_counts[most_before] / max(len(tokens_N), 1)).astype(np.float32),
            float(np.exp(-(shares * np.log(shares)).sum())),
        )


def _count(tokens: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens that occur, ascending, and how often they do."""
    counts_V = np.bincount(tokens)
    there = np.flatnonzero(counts_V)
    return there, counts_V[there]


def _most(counts: NDArray[np.int64], keep: int) -> NDArray[np.int64]:
    return np.argsort(-counts, kind="stable")[:keep]
