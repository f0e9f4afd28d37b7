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
        variety: exp of the entropy of the tokens fired on: 1 = always the same token, n = n tokens equally often.
    """

    tokens_K: NDArray[np.int32]
    shares_K: NDArray[np.float32]
    coverages_K: NDArray[np.float32]
    means_K: NDArray[np.float32]
    variety: float

    @classmethod
    def of(
        cls, tokens_N: NDArray[np.int32], values_N: NDArray[np.float32], occurrences_V: NDArray[np.int64], keep: int
    ) -> TokenStatistics:
        """Statistics of one feature from the token and the activation of each of its N firings."""
        tokens, places, counts = np.unique(tokens_N, return_inverse=True, return_counts=True)
        sums = np.bincount(places, weights=values_N, minlength=len(tokens))
        shares = counts / max(len(tokens_N), 1)
        best = np.argsort(-counts, kind="stable")[:keep]
        return cls(
            tokens[best].astype(np.int32),
            shares[best].astype(np.float32),
            (counts[best] / occurrences_V[tokens[best]]).astype(np.float32),
            (sums[best] / counts[best]).astype(np.float32),
            float(np.exp(-(shares * np.log(shares)).sum())),
        )
