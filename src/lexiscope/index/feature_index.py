"""FeatureIndex: read what `lexiscope.index.build` wrote, without the model, the autoencoder or a tokenizer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.config import MOST_QUOTED
from lexiscope.core.errors import ArtifactError, InputError, is_out_of_memory, one_line
from lexiscope.index.concordance.firings import Rows, Values
from lexiscope.index.concordance.sample import Sample
from lexiscope.index.concordance.text import Text
from lexiscope.index.contents import Contents
from lexiscope.index.directions.clusters import Clusters
from lexiscope.index.feature import Example, Feature, FeaturePage, FeatureSummary, Filters, Oddity, Overview, SortKey
from lexiscope.index.feature_list import FeatureList
from lexiscope.index.places import around, typed
from lexiscope.index.tables.links import clusters_of
from lexiscope.index.whole_feature import whole_feature


class UnknownFeatureError(InputError):
    """No feature has this number."""


Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def _or_damaged(
    method: Callable[Concatenate[FeatureIndex, Asked], Answer],
) -> Callable[Concatenate[FeatureIndex, Asked], Answer]:
    """Tables of the right types may still contradict one another; that shows when they are read."""

    @functools.wraps(method)
    def read(index: FeatureIndex, /, *asked: Asked.args, **named: Asked.kwargs) -> Answer:
        import duckdb

        try:
            return method(index, *asked, **named)
        except (duckdb.Error, LookupError, TypeError, ValueError, ArithmeticError) as error:
            if is_out_of_memory(error):
                raise
            why = one_line(f"{type(error).__name__}: {error}", MOST_QUOTED)
            raise ArtifactError(f"{index.artifact.path} is damaged ({why}); build the index again") from error

    return read


class FeatureIndex:
    """An open index. Safe to share between threads."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._read()

    @_or_damaged
    def _read(self) -> None:
        self._contents = Contents.read(self.artifact)
        self._list = FeatureList(self._contents)

    @classmethod
    def open(cls, path: Path | str) -> FeatureIndex:
        """Open an artifact of kind "index".

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        return cls(open_artifact(path, "index"))

    @property
    def num_features(self) -> int:
        """Numbers of features go from 0 to one less."""
        return self._contents.said.num_latents

    @property
    def num_tokens(self) -> int:
        """Length of the indexed text."""
        return self._contents.said.num_tokens

    @property
    def hook(self) -> str:
        """Where in the model the dictionary reads."""
        return self._contents.said.hook

    @_or_damaged
    def features(
        self,
        sort: SortKey = "max_activation",
        *,
        descending: bool = True,
        search: str = "",
        filters: Filters | None = None,
        among: Collection[int] | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> FeaturePage:
        """A page of the feature list. Dead features come last, whatever the order.

        Args:
            search: part of a token that a feature often fires on or promotes, or ``#`` and a feature's number. Upper
                and lower case are the same.
            filters: what else the features have in common.
            among: only these, such as those with a label.
        """
        return self._list.page(
            sort, descending=descending, search=search, filters=filters, among=among, limit=limit, offset=offset
        )

    @_or_damaged
    def feature(self, feature: int) -> Feature:
        """Everything about one feature.

        Raises:
            UnknownFeatureError: there is no feature of this number.
        """
        self.check(feature)
        return whole_feature(self._contents, self._list, feature)

    @_or_damaged
    def firings(self, feature: int) -> tuple[Rows, Values]:
        """Every row of the indexed text where a feature fires, ascending, and its activations there.

        Raises:
            UnknownFeatureError: there is no feature of this number.
        """
        self.check(feature)
        return self._contents.firings.of(self._contents.database.cursor(), feature)

    @_or_damaged
    def around(self, feature: int, rows: Sequence[int]) -> list[Example]:
        """Places of the indexed text, by row, as examples of a feature: it may fire there or be silent.

        Raises:
            UnknownFeatureError: there is no feature of this number.
        """
        return typed(self._contents, around(self._contents, rows, *self.firings(feature)))

    @property
    def text(self) -> Text:
        """The indexed text, by row."""
        return self._contents.text

    @property
    def sample(self) -> Sample:
        """All codes of some rows of it."""
        return self._contents.sample

    def check(self, feature: int) -> None:
        """Raises:
        InputError: there is no feature of this number.
        """
        if not 0 <= feature < self.num_features:
            raise UnknownFeatureError(
                f"there is no feature {feature}; this dictionary has features 0 to {self.num_features - 1}"
            )

    @_or_damaged
    def summaries(self, features: Sequence[int]) -> dict[int, FeatureSummary]:
        """Rows of the feature list, by number."""
        return self._list.summaries(features)

    @_or_damaged
    def kinds(self, features: Sequence[int]) -> dict[int, str | None]:
        """The kind of document with at least half of each feature's firings, by number; None: there is none."""
        return self._list.kinds(features)

    @_or_damaged
    def oddities(self, features: Sequence[int]) -> dict[int, Oddity]:
        """How far features lie from the middle of the dictionary, by number; dead ones are left out."""
        return self._contents.listing.unusual.of(features)

    @_or_damaged
    def clusters(self, width: int | None = None) -> Clusters:
        """Groups of features whose decoder directions are close; about a second for a million features.

        Args:
            width: of the directions, for the cosine that chance gives.
        """
        return clusters_of(self._contents.database, self._contents.listing, width)

    @property
    def firings_F(self) -> NDArray[np.int64]:
        """On how many rows each feature fires."""
        return self._contents.firings_F

    @property
    def means_F(self) -> NDArray[np.float32]:
        """Mean activation of each feature where it fires."""
        return self._contents.listing.means_F

    @property
    def live_L(self) -> NDArray[np.int32]:
        """Numbers of the features that fire, ascending. Not to be written to."""
        return self._contents.listing.live_L

    def live(self) -> list[int]:
        """The same as a list, which takes a moment for a million."""
        features: list[int] = self.live_L.tolist()
        return features

    def live_before(self, feature: int) -> int | None:
        """The nearest feature with a lower number that fires."""
        return self._list.live_before(feature)

    def live_after(self, feature: int) -> int | None:
        """The nearest feature with a higher number that fires."""
        return self._list.live_after(feature)

    @_or_damaged
    def overview(self) -> Overview:
        """The dictionary as a whole."""
        return self._list.overview
