"""Listing: the columns of all features that lists sort, filter and search by, in memory: about 80 bytes per feature.

F features, K tokens kept of each, V vocabulary, M features that match.
"""

from __future__ import annotations

import itertools
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.feature import Filters, SortKey, TokenClass
from lexiscope.index.tables.order import ascending
from lexiscope.index.tables.unusual import Unusual

TOKENS_SHOWN = 5
"""Of the tokens that a feature fires on, and of those it promotes."""
TOKENS_SEARCHED = 6
TOKEN_CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)
_MOSTLY = 0.5
NUMBERS = (
    "firings",
    "max_activation",
    "max_row",
    "mean_activation",
    "variety",
    "documents",
)
SHAPES = {"nearest_cosine": "neighbour_cosines[1]", "effects_kurtosis": "effects_kurtosis"}
"""Columns where nothing counts as 0."""
LIMITED = ("density", "max_activation", "variety", "documents", "nearest_cosine", "unusual")
"""What `Filters` has limits for."""
KINDS = ("kind", "kind_share")
"""The kind of document with most of its firings, and their share."""
LISTS = ("frequent_tokens", "promoted_tokens")
COLUMNS = ", ".join(
    [
        *NUMBERS,
        *(f"coalesce({term}, 0) AS {name}" for name, term in SHAPES.items()),
        "coalesce(list_max(kind_shares), 0) AS kind_share",
        "coalesce(list_position(kind_shares, list_max(kind_shares)), 0) - 1 AS kind",
        *(f"coalesce({name}[{n + 1}], -1) AS {name}_{n}" for name in LISTS for n in range(TOKENS_SEARCHED)),
    ]
)
"""What to ask ``features/*.parquet`` for."""


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
        columns: by name, as in ``features/*.parquet``; int64 or float32 [F].
        tokens: by name of the list, K columns int32 [F], -1 where there are fewer.
        live_L: int32, the features that fire, ascending.
        unusual: how far each lies from the middle of them all.

    Raises:
        ValueError: the columns are no columns of features.
    """

    def __init__(self, found: Mapping[str, Any], num_tokens: int) -> None:
        self._num_tokens = num_tokens
        if any(np.ma.is_masked(column) for column in found.values()):
            raise ValueError("features with numbers missing")
        self.columns: dict[str, NDArray[Any]] = {name: np.asarray(found[name]) for name in (*NUMBERS, *SHAPES, *KINDS)}
        self.tokens: dict[str, list[NDArray[np.int32]]] = {
            name: [found[f"{name}_{n}"] for n in range(TOKENS_SEARCHED)] for name in LISTS
        }
        self.dead_F = self.columns["firings"] == 0
        self.live_L = np.flatnonzero(~self.dead_F).astype(np.int32)
        self.unusual = Unusual(self.columns, self.live_L)
        self._orders: dict[tuple[SortKey, bool], NDArray[np.int32]] = {}
        self._lock = threading.Lock()

    @property
    def num_features(self) -> int:
        return len(self.dead_F)

    def meets(self, filters: Filters, kinds: Sequence[str], classes_V: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Whether each feature has what is asked for: bool [F].

        Args:
            kinds: of document, in the order of ``kind_shares``.
            classes_V: of every token, the ordinal of its `TokenClass`.
        """
        met_F = np.ones(self.num_features, dtype=bool)
        for name in LIMITED:
            low, high = getattr(filters, f"{name}_from"), getattr(filters, f"{name}_to")
            if low is None and high is None:
                continue
            column_F = self._limited(name)
            if low is not None:
                met_F &= column_F >= low
            if high is not None:
                met_F &= column_F <= high
        if filters.dead is not None:
            met_F &= self.dead_F == filters.dead
        if filters.kind is not None:
            mostly_F = self.columns["kind_share"] >= _MOSTLY
            met_F &= mostly_F & (self.columns["kind"] == (kinds.index(filters.kind) if filters.kind in kinds else -2))
        if filters.token_class is not None:
            first_F = self.tokens["frequent_tokens"][0]
            met_F &= (first_F >= 0) & (classes_V[first_F] == TOKEN_CLASSES.index(filters.token_class))
        return met_F

    def main_kinds(self, features: Sequence[int]) -> list[int | None]:
        """For each the ordinal of the kind of document that at least half of its firings are in."""
        chosen = np.array(features, np.int64)
        mostly = self.columns["kind_share"][chosen] >= _MOSTLY
        kinds = self.columns["kind"][chosen]
        return [kind if most else None for kind, most in zip(kinds.tolist(), mostly.tolist(), strict=True)]

    def _limited(self, name: str) -> NDArray[Any]:
        if name == "density":
            return self.columns["firings"] / self._num_tokens
        return self.unusual.distances_F if name == "unusual" else self.columns[name]

    def mentions(self, tokens: Sequence[int], vocab_size: int) -> NDArray[np.bool_]:
        """Whether one of these tokens is among those that a feature often fires on, or promotes most: bool [F]."""
        wanted_V = np.zeros(vocab_size + 1, dtype=bool)
        wanted_V[list(tokens)] = True
        wanted_V[-1] = False
        found_F = np.zeros(self.num_features, dtype=bool)
        for column_F in itertools.chain(*self.tokens.values()):
            found_F |= wanted_V.take(column_F)
        return found_F

    @property
    def means_F(self) -> NDArray[np.float32]:
        """Mean activation over firings."""
        means_F: NDArray[np.float32] = self.columns["mean_activation"]
        return means_F

    def page(
        self, matching_F: NDArray[np.bool_] | None, sort: SortKey, *, descending: bool, limit: int, offset: int
    ) -> tuple[list[int], int]:
        """Some of the features that match, in order, the dead ones last; and how many match. None: all do."""
        order_F = self._order(sort, descending)
        if matching_F is None:
            return order_F[offset : offset + limit].tolist(), len(order_F)
        places_M = np.flatnonzero(matching_F.take(order_F))
        return order_F[places_M[offset : offset + limit]].tolist(), len(places_M)

    def rows(self, features: Sequence[int]) -> list[Listed]:
        """Raises IndexError: there is no such feature."""
        chosen = np.array(features, np.int64)
        if len(chosen) and chosen.min() < 0:
            raise IndexError("features have no negative numbers")
        numbers = (self.columns[name][chosen].tolist() for name in NUMBERS)
        lists = (
            _joined([column_F[chosen].tolist() for column_F in self.tokens[name][:TOKENS_SHOWN]]) for name in LISTS
        )
        return [Listed(*row) for row in zip(chosen.tolist(), *numbers, *lists, strict=True)]

    def _order(self, sort: SortKey, descending: bool) -> NDArray[np.int32]:
        with self._lock:
            if (sort, descending) not in self._orders:
                keys_F = self._keys(sort)
                if descending:
                    keys_F = -keys_F
                order_F = ascending(keys_F)
                dead_F = self.dead_F[order_F]
                self._orders[sort, descending] = np.concatenate([order_F[~dead_F], order_F[dead_F]])
            return self._orders[sort, descending]

    def _keys(self, sort: SortKey) -> NDArray[Any]:
        if sort == "feature":
            return np.arange(self.num_features)
        if sort == "unusual":
            return self.unusual.distances_F
        return self.columns["firings" if sort == "density" else sort]


def _joined(columns: list[list[int]]) -> list[list[int]]:
    """Columns as rows, without gaps."""
    return [[token for token in row if token >= 0] for row in zip(*columns, strict=True)]


def token_class(piece: str) -> TokenClass:
    """Of what a token is made, the white space around it aside."""
    inside = piece.strip()
    if not inside:
        return "space" if piece else "other"
    if all(character.isalpha() or unicodedata.combining(character) for character in inside):
        return "word"
    if inside.isnumeric():
        return "number"
    if all(unicodedata.category(character)[0] in "PS" for character in inside):
        return "punctuation"
    return "other"
