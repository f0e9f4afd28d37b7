"""FeatureList: features as rows of a list, which is sorted, filtered and searched. F features, L of them live."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.contents import Contents
from lexiscope.index.feature import (
    DensityHistogram,
    FeaturePage,
    FeatureSummary,
    Filters,
    ListedFeature,
    Overview,
    SortKey,
)
from lexiscope.index.places import peak, typed
from lexiscope.index.tables.listing import TOKEN_CLASSES, Listed, token_class

_DENSITY_BINS_PER_DECADE = 5
_LONGEST_NUMBER = 12


class FeatureList:
    """The list of an open index; its methods are those of `lexiscope.index.feature_index.FeatureIndex`."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._listing = contents.listing
        self._lowered = [piece.lower() for piece in contents.pieces]
        self._classes_V = np.array([TOKEN_CLASSES.index(token_class(piece)) for piece in contents.pieces], np.int8)

    def page(
        self,
        sort: SortKey,
        *,
        descending: bool,
        search: str,
        filters: Filters | None,
        among: Collection[int] | None,
        limit: int,
        offset: int,
    ) -> FeaturePage:
        matching_F = self._matching(search, filters, among)
        numbers, matching = self._listing.page(matching_F, sort, descending=descending, limit=limit, offset=offset)
        rows = self._listing.rows(numbers)
        live = [row for row in rows if row.firings]
        places = typed(self._contents, [peak(self._contents, row.max_row, row.max_activation) for row in live])
        peaks = {row.feature: place for row, place in zip(live, places, strict=True)}
        return FeaturePage(
            features=[ListedFeature(**self._summary(row).model_dump(), example=peaks.get(row.feature)) for row in rows],
            matching=matching,
            offset=offset,
            limit=limit,
            sort=sort,
            descending=descending,
            search=search,
        )

    def summaries(self, features: Sequence[int]) -> dict[int, FeatureSummary]:
        return {row.feature: self._summary(row) for row in self._listing.rows(features)}

    def kinds(self, features: Sequence[int]) -> dict[int, str | None]:
        kinds = list(self._contents.said.kinds)
        found = zip(features, self._listing.main_kinds(features), strict=True)
        return {feature: None if kind is None else kinds[kind] for feature, kind in found}

    def live_before(self, feature: int) -> int | None:
        live_L = self._listing.live_L
        place = bisect_left(live_L, feature)  # numpy would make a copy of all of them for the sake of one number
        return int(live_L[place - 1]) if place else None

    def live_after(self, feature: int) -> int | None:
        live_L = self._listing.live_L
        place = bisect_right(live_L, feature)
        return int(live_L[place]) if place < len(live_L) else None

    @cached_property
    def overview(self) -> Overview:
        num_tokens = self._contents.said.num_tokens
        live_L = self._contents.firings_F[self._listing.live_L]
        low = int(np.floor(np.log10(1 / num_tokens)))
        counts, _ = np.histogram(np.log10(live_L / num_tokens), bins=-low * _DENSITY_BINS_PER_DECADE, range=(low, 0))
        return Overview(
            num_features=self._listing.num_features,
            dead=self._listing.num_features - len(live_L),
            tokens=num_tokens,
            firings_per_token=float(live_L.sum() / num_tokens),
            density=DensityHistogram(low=low, high=0, counts=counts.tolist()),
        )

    def _matching(
        self, search: str, filters: Filters | None, among: Collection[int] | None
    ) -> NDArray[np.bool_] | None:
        """Which features are asked for; None: all."""
        found = [self._found(search)] if search.strip() else []
        if filters is not None and filters != Filters():
            found.append(self._listing.meets(filters, list(self._contents.said.kinds), self._classes_V))
        if among is not None:
            found.append(self._only(among))
        return np.logical_and.reduce(found) if found else None

    def _found(self, search: str) -> NDArray[np.bool_]:
        """Which features a search finds."""
        wanted = search.strip().lower()
        if wanted.startswith("#") and wanted[1:].isdecimal() and len(wanted) < _LONGEST_NUMBER:
            return self._only([int(wanted[1:])])
        tokens = [token for token, piece in enumerate(self._lowered) if wanted in piece]
        return self._listing.mentions(tokens, len(self._lowered))

    def _only(self, features: Collection[int]) -> NDArray[np.bool_]:
        """These, as far as there are any of these numbers."""
        chosen_F = np.zeros(self._listing.num_features, dtype=bool)
        chosen_F[[feature for feature in features if 0 <= feature < len(chosen_F)]] = True
        return chosen_F

    def _summary(self, row: Listed) -> FeatureSummary:
        return FeatureSummary(
            feature=row.feature,
            dead=not row.firings,
            firings=row.firings,
            density=row.firings / self._contents.said.num_tokens,
            max_activation=row.max_activation,
            mean_activation=row.mean_activation,
            documents=row.documents,
            variety=row.variety,
            tokens=self._contents.words(row.tokens),
            promoted=self._contents.words(row.promoted),
        )
