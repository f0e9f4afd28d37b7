"""Summary: what lists sort, filter and search by, for a whole block of features at once.

B features of the block, N firings, T tokens, V vocabulary, K entries kept, C kinds of document.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.index.concordance.firings import Firings, is_native
from lexiscope.saes.kernels.native import firings as native

_PIECE = 1 << 18
"""Firings at once."""
_LOGS = np.arange(1 << 12) * np.log(np.maximum(np.arange(1 << 12), 1))
"""n log n."""


class TextFacts(NamedTuple):
    """What is known about every token of the text.

    Attributes:
        tokens_T: int32 token ids, below ``vocab_size``.
        documents_T: int32, ordinal of each token's document.
        kinds_D: int32, for every document the index of its kind.
        num_kinds: C.
    """

    tokens_T: NDArray[np.int32]
    vocab_size: int
    documents_T: NDArray[np.int32]
    kinds_D: NDArray[np.int32]
    num_kinds: int


class Summary(NamedTuple):
    """One row per feature.

    Attributes:
        firings_B: int64.
        max_activations_B, mean_activations_B: float32; 0 for dead features.
        max_rows_B: int64, the first row with the largest activation; -1 for dead features.
        varieties_B: float32, exp of the entropy of the tokens fired on: 1 = always the same one (or none).
        documents_B: int32, in how many documents it fires.
        frequent_tokens_BK: int32, the tokens it fires on most often, ties to the smaller id; -1 where there are fewer.
        frequent_shares_BK: float32, of its firings.
        kind_shares_BC: float32, of its firings.
    """

    firings_B: NDArray[np.int64]
    max_activations_B: NDArray[np.float32]
    max_rows_B: NDArray[np.int64]
    mean_activations_B: NDArray[np.float32]
    varieties_B: NDArray[np.float32]
    documents_B: NDArray[np.int32]
    frequent_tokens_BK: NDArray[np.int32]
    frequent_shares_BK: NDArray[np.float32]
    kind_shares_BC: NDArray[np.float32]

    @classmethod
    def of(cls, firings: Firings, text: TextFacts, keep: int) -> Self:
        """Of any number of features."""
        if is_native() and firings.rows.dtype == np.int32:
            return cls._counted(firings, text, keep)
        # In pieces that fit a processor's cache.
        return cls.joined([cls._of_piece(piece, text, keep) for piece in firings.pieces(_PIECE)])

    @classmethod
    def _counted(cls, firings: Firings, text: TextFacts, keep: int) -> Self:
        """By a compiled kernel; `_of_piece` is its oracle."""
        counts_B = np.diff(firings.offsets)
        arrays = (firings.offsets, firings.rows, firings.values, text.tokens_T, text.documents_T, text.kinds_D, _LOGS)
        found = native.summarise(
            *map(torch.from_numpy, arrays), vocabulary=text.vocab_size, num_kinds=text.num_kinds, keep=keep
        )
        total_B = np.maximum(counts_B, 1)
        return cls(
            counts_B,
            found.most_B.numpy(),
            found.most_rows_B.numpy(),
            (found.sums_B.numpy() / total_B).astype(np.float32),
            _varieties(found.spreads_B.numpy(), counts_B),
            found.documents_B.numpy(),
            found.tokens_BK.numpy(),
            (found.counts_BK.numpy() / total_B[:, None]).astype(np.float32),
            (found.kinds_BC.numpy() / total_B[:, None]).astype(np.float32),
        )

    @classmethod
    def _of_piece(cls, firings: Firings, text: TextFacts, keep: int) -> Self:
        counts_B = np.diff(firings.offsets)
        live = np.flatnonzero(counts_B)
        starts = firings.offsets[live]
        most_B, mean_B = np.zeros(len(counts_B), np.float32), np.zeros(len(counts_B), np.float32)
        most_row_B, documents_B = np.full(len(counts_B), -1, np.int64), np.zeros(len(counts_B), np.int32)
        kinds_BC = np.zeros((len(counts_B), text.num_kinds), np.float32)
        if len(live):
            most_B[live] = np.maximum.reduceat(firings.values, starts)
            mean_B[live] = np.add.reduceat(firings.values, starts, dtype=np.float64) / counts_B[live]
            latents_N = firings.latents().astype(np.int64) - firings.low
            top = np.flatnonzero(firings.values == most_B[latents_N])
            top = top[_differs(latents_N[top])]
            most_row_B[live] = firings.rows[top]
            documents_N = text.documents_T[firings.rows]
            # Rows ascend, and the rows of a document follow one another.
            other_N = _differs(documents_N)
            other_N[starts] = True
            documents_B[live] = np.add.reduceat(other_N, starts, dtype=np.int32)
            places_N = latents_N * text.num_kinds + text.kinds_D[documents_N]
            firings_BC = np.bincount(places_N, minlength=kinds_BC.size).reshape(kinds_BC.shape)
            kinds_BC = (firings_BC / np.maximum(counts_B, 1)[:, None]).astype(np.float32)
            spread = _Spread.of(latents_N * text.vocab_size + text.tokens_T[firings.rows], text.vocab_size)
        else:
            spread = _Spread.of(np.empty(0, np.int64), text.vocab_size)
        tokens_BK, shares_BK = spread.most_frequent(counts_B, keep)
        return cls(
            counts_B,
            most_B,
            most_row_B,
            mean_B,
            spread.varieties(counts_B),
            documents_B,
            tokens_BK,
            shares_BK,
            kinds_BC,
        )

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Of blocks that follow one another."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class _Spread(NamedTuple):
    """How often each feature fires on each token that it fires on; by feature, then token. P such pairs."""

    features_P: NDArray[np.int64]
    tokens_P: NDArray[np.int64]
    counts_P: NDArray[np.int64]

    @classmethod
    def of(cls, keys_N: NDArray[np.int64], vocab_size: int) -> Self:
        """From feature x V + token of every firing, in any order."""
        keys_N.sort()
        starts = np.flatnonzero(_differs(keys_N))
        counts_P = np.diff(starts, append=len(keys_N))
        return cls(*np.divmod(keys_N[starts], vocab_size), counts_P)

    def varieties(self, firings_B: NDArray[np.int64]) -> NDArray[np.float32]:
        weights_P = self.counts_P * np.log(self.counts_P)
        spreads_B = np.bincount(self.features_P, weights=weights_P, minlength=len(firings_B))
        return _varieties(spreads_B.astype(np.float64, copy=False), firings_B)

    def most_frequent(self, firings_B: NDArray[np.int64], keep: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        tokens_BK = np.full((len(firings_B), keep), -1, np.int32)
        shares_BK = np.zeros((len(firings_B), keep), np.float32)
        pairs_B = np.bincount(self.features_P, minlength=len(firings_B))
        first_B = pairs_B.cumsum() - pairs_B
        place_P = np.arange(len(self.counts_P)) - first_B[self.features_P]
        order_P = _by_feature_then_count(self.features_P, self.counts_P, place_P) + first_B[self.features_P]
        kept = place_P < keep
        rows, columns, chosen = self.features_P[kept], place_P[kept], order_P[kept]
        tokens_BK[rows, columns] = self.tokens_P[chosen]
        shares_BK[rows, columns] = self.counts_P[chosen] / firings_B[rows]
        return tokens_BK, shares_BK


def _varieties(spreads_B: NDArray[np.float64], firings_B: NDArray[np.int64]) -> NDArray[np.float32]:
    """The exponential of the entropy, from the sum of n log n over the counts n of each feature's tokens."""
    total_B = np.maximum(firings_B, 1)
    return np.exp(np.log(total_B) - spreads_B / total_B).astype(np.float32)


def _differs(values_N: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether each value differs from the one before; the first does."""
    other_N = np.ones(len(values_N), dtype=bool)
    np.not_equal(values_N[1:], values_N[:-1], out=other_N[1:])
    return other_N


def _by_feature_then_count(
    features_P: NDArray[np.int64], counts_P: NDArray[np.int64], place_P: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Places within their feature, most frequent first, ties as they are: one sort of distinct numbers."""
    most = int(counts_P.max(initial=0))
    count_bits, place_bits = most.bit_length(), int(place_P.max(initial=0)).bit_length()
    if int(features_P.max(initial=0)).bit_length() + count_bits + place_bits > 63:
        order = np.lexsort((-counts_P, features_P))
        return place_P[order]
    keys_P = ((features_P << count_bits | (most - counts_P)) << place_bits) | place_P
    keys_P.sort()
    return keys_P & ((1 << place_bits) - 1)
