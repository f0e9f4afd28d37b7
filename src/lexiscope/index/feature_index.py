"""FeatureIndex: read what `lexiscope.index.build` wrote, without the model, the autoencoder or a tokenizer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.config import MOST_QUOTED, describe
from lexiscope.core.errors import ArtifactError, InputError, is_out_of_memory, one_line
from lexiscope.core.manifest import MANIFEST
from lexiscope.index.database import EXAMPLE, SUMMARY, Database, Row
from lexiscope.index.feature import (
    ActivationHistogram,
    Band,
    DensityHistogram,
    Example,
    Feature,
    FeaturePage,
    FeatureSummary,
    FrequentToken,
    KindShare,
    ListedFeature,
    Neighbour,
    Overview,
    PrecedingToken,
    SortKey,
    TokenEffect,
)
from lexiscope.index.histogram import NUM_BANDS

_DENSITY_BINS_PER_DECADE = 5


class UnknownFeatureError(InputError):
    """No feature has this number."""


class _Said(BaseModel):
    """What of its manifest an index needs."""

    num_latents: int = Field(ge=0, lt=2**31)
    num_tokens: int = Field(ge=1, lt=2**63)
    hook: str
    kinds: dict[str, float]


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
        try:
            said = _Said.model_validate({**artifact.config, **artifact.manifest})
        except ValidationError as error:
            raise ArtifactError(f"{artifact.path / MANIFEST}: {describe(error)}; build the index again") from None
        self.num_features, self.num_tokens, self.hook = said.num_latents, said.num_tokens, said.hook
        self._kinds_of_text = said.kinds
        self._database = Database(artifact, self.num_features)
        self._pieces = self._read_pieces()

    @classmethod
    def open(cls, path: Path | str) -> FeatureIndex:
        """Open an artifact of kind "index".

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        return cls(open_artifact(path, "index"))

    @_or_damaged
    def _read_pieces(self) -> list[str]:
        return self._database.pieces()

    @_or_damaged
    def features(
        self,
        sort: SortKey = "max_activation",
        *,
        descending: bool = True,
        search: str = "",
        limit: int = 50,
        offset: int = 0,
    ) -> FeaturePage:
        """A page of the feature list. Dead features come last, whatever the order.

        Args:
            search: part of a token that a feature often fires on or promotes, or ``#`` and a feature's number. Upper
                and lower case are the same.
        """
        rows = self._database.page(search, sort, descending=descending, limit=limit, offset=offset)
        examples = {row[0]: self._example(row[1:]) for row in self._database.first_examples([row[0] for row in rows])}
        return FeaturePage(
            features=[ListedFeature(**self._summary(row).model_dump(), example=examples.get(row[0])) for row in rows],
            matching=self._database.matching(search),
            offset=offset,
            limit=limit,
            sort=sort,
            descending=descending,
            search=search,
        )

    @_or_damaged
    def feature(self, feature: int) -> Feature:
        """Everything about one feature.

        Raises:
            UnknownFeatureError: there is no feature of this number.
        """
        self.check(feature)
        [row] = self._database.summaries([feature])
        detail = self._database.details(feature)
        examples = self._database.examples(feature)
        histogram = ActivationHistogram(
            low=detail["histogram_low"], high=detail["histogram_high"], counts=detail["histogram_counts"]
        )
        return Feature(
            **self._summary(row).model_dump(),
            histogram=histogram,
            frequent_tokens=[
                FrequentToken(
                    token=token, piece=self._pieces[token], share=share, coverage=coverage, mean_activation=mean
                )
                for token, share, coverage, mean in zip(
                    *(detail[f"frequent_{name}"] for name in ("tokens", "shares", "coverages", "means")), strict=True
                )
            ],
            preceding_tokens=[
                PrecedingToken(token=token, piece=self._pieces[token], share=share)
                for token, share in zip(detail["preceding_tokens"], detail["preceding_shares"], strict=True)
            ],
            kinds=self._kinds(detail["kind_shares"]),
            promoted_tokens=self._effects(detail["promoted_tokens"], detail["promoted_effects"]),
            suppressed_tokens=self._effects(detail["suppressed_tokens"], detail["suppressed_effects"]),
            neighbours=self._neighbours(detail["neighbour_features"], detail["neighbour_cosines"]),
            strongest=[self._example(entry[2:]) for entry in examples if entry[0] == "strongest"],
            bands=self._bands(histogram, [(entry[1], entry[2:]) for entry in examples if entry[0] == "band"]),
            weakest=[self._example(entry[2:]) for entry in examples if entry[0] == "weakest"],
        )

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
        return {row[0]: self._summary(row) for row in self._database.summaries(features)}

    @_or_damaged
    def live(self) -> list[int]:
        """Numbers of the features that fire, ascending."""
        return [feature for feature, firings in enumerate(self._database.firings()) if firings]

    @_or_damaged
    def overview(self) -> Overview:
        """The dictionary as a whole."""
        firings_F = np.array(self._database.firings(), dtype=np.int64)
        live = firings_F[firings_F > 0]
        low = int(np.floor(np.log10(1 / self.num_tokens)))
        counts, _ = np.histogram(np.log10(live / self.num_tokens), bins=-low * _DENSITY_BINS_PER_DECADE, range=(low, 0))
        return Overview(
            num_features=self.num_features,
            dead=int((firings_F == 0).sum()),
            tokens=self.num_tokens,
            firings_per_token=float(firings_F.sum() / self.num_tokens),
            density=DensityHistogram(low=low, high=0, counts=counts.tolist()),
        )

    def _summary(self, row: Row) -> FeatureSummary:
        named = dict(zip(SUMMARY, row, strict=True))
        for column in ("tokens", "promoted"):
            named[column] = [self._pieces[token] for token in named[column]]
        return FeatureSummary(**named)

    def _example(self, row: Row) -> Example:
        named = dict(zip(EXAMPLE, row, strict=True))
        pieces = [self._pieces[token] for token in named.pop("tokens")]
        return Example(pieces=pieces, document=named.pop("id"), **named)

    def _effects(self, tokens: list[int], effects: list[float]) -> list[TokenEffect]:
        return [
            TokenEffect(token=token, piece=self._pieces[token], effect=effect)
            for token, effect in zip(tokens, effects, strict=True)
        ]

    def _kinds(self, shares: list[float]) -> list[KindShare]:
        of_text = self._kinds_of_text
        kinds = [
            KindShare(kind=kind, share=share, share_of_text=of_text[kind])
            for kind, share in zip(of_text, shares, strict=True)
        ]
        return sorted(kinds, key=lambda kind: -kind.share)

    def _neighbours(self, features: list[int], cosines: list[float]) -> list[Neighbour]:
        summaries = self.summaries(features)
        return [
            Neighbour(feature=feature, cosine=cosine, tokens=summaries[feature].tokens)
            for feature, cosine in zip(features, cosines, strict=True)
        ]

    def _bands(self, histogram: ActivationHistogram, examples: list[tuple[int, Row]]) -> list[Band]:
        bins = len(histogram.counts) // NUM_BANDS
        width = (histogram.high - histogram.low) / NUM_BANDS
        total = sum(histogram.counts)
        bands = []
        for band in reversed(range(NUM_BANDS)):
            firings = sum(histogram.counts[band * bins : (band + 1) * bins])
            if firings:
                bands.append(
                    Band(
                        low=histogram.low + band * width,
                        high=histogram.low + (band + 1) * width,
                        firings=firings,
                        share=firings / total,
                        examples=[self._example(row) for of, row in examples if of == band],
                    )
                )
        return bands
