"""Windows: the text around a row of the store, never leaving its context. R rows, W tokens in a window."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_NEAR_BEFORE, _NEAR_AFTER = 6, 3
"""Two firings with the same tokens from 6 before to 3 after are the same example."""


class Windows:
    """Cuts windows out of the stored token ids."""

    def __init__(self, tokens_T: NDArray[np.integer], contexts_T: NDArray[np.integer], before: int, after: int) -> None:
        self._tokens_T = np.asarray(tokens_T)
        self._before, self._after = before, after
        changes = np.flatnonzero(np.diff(np.asarray(contexts_T))) + 1
        self._starts = np.concatenate([[0], changes, [len(self._tokens_T)]]).astype(np.int64)
        self._first_T = np.zeros(len(self._tokens_T), dtype=bool)
        self._first_T[self._starts[:-1]] = True
        random = np.random.default_rng(0)
        self._multipliers = random.integers(2**63, size=_NEAR_BEFORE + 1 + _NEAR_AFTER, dtype=np.int64) | 1

    def context(self, rows_R: Ints) -> Ints:
        """Which context each row is in: an ordinal from 0."""
        return np.searchsorted(self._starts, rows_R, side="right") - 1

    def has_previous(self, rows_R: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the row before each row is in the same context."""
        return ~self._first_T[rows_R]

    def spans(self, rows_R: Ints) -> tuple[Ints, Ints]:
        """First row and last row + 1 of the window around each row."""
        contexts_R = self.context(rows_R)
        first_R = np.maximum(rows_R - self._before, self._starts[contexts_R])
        last_R = np.minimum(rows_R + self._after + 1, self._starts[contexts_R + 1])
        return first_R, last_R

    def keys(self, rows_R: Ints) -> Ints:
        """A hash of the tokens close to each row: the same text gives the same key."""
        contexts_R = self.context(rows_R)
        near_RW = rows_R[:, None] + np.arange(-_NEAR_BEFORE, _NEAR_AFTER + 1)
        inside_RW = (near_RW >= self._starts[contexts_R, None]) & (near_RW < self._starts[contexts_R + 1, None])
        tokens_RW = np.where(inside_RW, self._tokens_T[np.where(inside_RW, near_RW, 0)].astype(np.int64) + 1, 0)
        with np.errstate(over="ignore"):
            return cast(Ints, (tokens_RW * self._multipliers).sum(axis=1))

    def tokens(self, first: int, last: int) -> NDArray[np.int32]:
        return self._tokens_T[first:last].astype(np.int32)
