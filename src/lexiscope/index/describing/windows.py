"""Windows: the text around a row, never leaving its context. R rows, W tokens in a window."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.concordance.text import Text

Ints = NDArray[np.int64]

_NEAR_BEFORE, _NEAR_AFTER = 6, 3
"""Two firings with the same tokens from 6 before to 3 after are the same example."""


class Windows:
    """Cuts windows out of a text."""

    def __init__(self, text: Text, before: int, after: int) -> None:
        self._tokens_T = text.tokens_T
        self._before, self._after = before, after
        self._starts = np.append(text.context_starts(), text.num_rows)
        random = np.random.default_rng(0)
        self._multipliers = random.integers(2**63, size=_NEAR_BEFORE + 1 + _NEAR_AFTER, dtype=np.int64) | 1

    def context(self, rows_R: Ints) -> Ints:
        """Which context each row is in: an ordinal from 0."""
        return np.searchsorted(self._starts, rows_R, side="right") - 1

    def places(self, rows_R: Ints) -> Ints:
        """How many rows of its context stand before each row."""
        places_R: Ints = rows_R - self._starts[self.context(rows_R)]
        return places_R

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
        return self._tokens_T[first:last]
