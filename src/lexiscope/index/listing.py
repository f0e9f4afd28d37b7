"""Listing: the columns of all features that lists sort, filter and search by, in memory: about 80 bytes per feature.

F features, K tokens kept of each, V vocabulary, M features that match.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.feature import SortKey

TOKENS_SHOWN = 5
"""Of the tokens that a feature fires on, and of those it promotes."""
TOKENS_SEARCHED = 6
NUMBERS = (
    "firings",
    "max_activation",
    "max_row",
    "mean_activation",
    "variety",
    "documents",
)
LISTS = ("frequent_tokens", "promoted_tokens")
COLUMNS = ", ".join(
    [*NUMBERS, *(f"coalesce({name}[{n + 1}], -1) AS {name}_{n}" for name in LISTS for n in range(TOKENS_SEARCHED))]
)
"""What to ask ``features.parquet`` for."""


class Listed(NamedTuple):
    """A row of the list; tokens are ids."""

    feature: int
    firings: int
    max_activation: float
    max_row: int
    mean_activation: float
    variety: float
    documents: int
    tokens: list[int]
    promoted: list[int]


class Listing:
    """The columns. Safe to share between threads.

    Attributes:
        columns: by name, as in ``features.parquet``; int64 or float32 [F].
        tokens: by name of the list, int32 [F, K], -1 where there are fewer.

    Raises:
        ValueError: the columns are no columns of features.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        if any(np.ma.is_masked(column) for column in found.values()):
            raise ValueError("features with numbers missing")
        self.columns: dict[str, NDArray[Any]] = {name: np.asarray(found[name]) for name in NUMBERS}
        self.tokens: dict[str, NDArray[np.int32]] = {
            name: np.stack([found[f"{name}_{n}"] for n in range(TOKENS_SEARCHED)], axis=1) for name in LISTS
        }
        self.dead_F = self.columns["firings"] == 0
        self._orders: dict[tuple[SortKey, bool], NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    @property
    def num_features(self) -> int:
        return len(self.dead_F)

    def mentions(self, tokens: Sequence[int], vocab_size: int) -> NDArray[np.bool_]:
        """Whether one of these tokens is among those that a feature often fires on, or promotes most: bool [F]."""
        wanted_V = np.zeros(vocab_size + 1, dtype=bool)
        wanted_V[list(tokens)] = True
        wanted_V[-1] = False
        found_F = np.zeros(self.num_features, dtype=bool)
        for table_FK in self.tokens.values():
            for column_F in table_FK.T:
                found_F |= wanted_V[column_F]
        return found_F

    def page(
        self, matching_F: NDArray[np.bool_] | None, sort: SortKey, *, descending: bool, limit: int, offset: int
    ) -> tuple[list[int], int]:
        """Some of the features that match, in order, the dead ones last; and how many match. None: all do."""
        order_M = self._order(sort, descending)
        if matching_F is not None:
            order_M = order_M[matching_F[order_M]]
        return order_M[offset : offset + limit].tolist(), len(order_M)

    def rows(self, features: Sequence[int]) -> list[Listed]:
        """Raises IndexError: there is no such feature."""
        chosen = np.array(features, np.int64)
        if len(chosen) and chosen.min() < 0:
            raise IndexError("features have no negative numbers")
        numbers = (self.columns[name][chosen].tolist() for name in NUMBERS)
        lists = (_without_gaps(self.tokens[name][chosen, :TOKENS_SHOWN].tolist()) for name in LISTS)
        return [Listed(*row) for row in zip(chosen.tolist(), *numbers, *lists, strict=True)]

    def _order(self, sort: SortKey, descending: bool) -> NDArray[np.int64]:
        with self._lock:
            if (sort, descending) not in self._orders:
                keys_F = self._keys(sort)
                if descending:
                    keys_F = -keys_F
                order_F = np.argsort(keys_F, kind="stable")
                dead_F = self.dead_F[order_F]
                self._orders[sort, descending] = np.concatenate([order_F[~dead_F], order_F[dead_F]])
            return self._orders[sort, descending]

    def _keys(self, sort: SortKey) -> NDArray[Any]:
        if sort == "feature":
            return np.arange(self.num_features)
        return self.columns["firings" if sort == "density" else sort]


def _without_gaps(rows: list[list[int]]) -> list[list[int]]:
    return [[token for token in row if token >= 0] for row in rows]
