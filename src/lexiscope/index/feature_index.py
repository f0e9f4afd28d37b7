"""FeatureIndex: read what `lexiscope.index.build` wrote, without the model, the autoencoder or a tokenizer."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.config import MOST_QUOTED, describe
from lexiscope.core.errors import ArtifactError, InputError, is_out_of_memory, one_line
from lexiscope.core.manifest import MANIFEST
from lexiscope.index.concordance.firings import Rows, Values
from lexiscope.index.concordance.sample import SAMPLE, Sample
from lexiscope.index.concordance.table import FiringTable
from lexiscope.index.concordance.text import TEXT, Text, read_text
from lexiscope.index.describing import examples
from lexiscope.index.describing.coactivation import coactivations
from lexiscope.index.describing.describe import POSITION_EDGES, Describer
from lexiscope.index.describing.histogram import NUM_BANDS, Histogram
from lexiscope.index.feature import (
    ActivationHistogram,
    Band,
    CoActivation,
    DensityHistogram,
    EffectHistogram,
    Example,
    Feature,
    FeaturePage,
    FeatureSummary,
    Filters,
    FrequentToken,
    KindShare,
    ListedFeature,
    Neighbour,
    NGram,
    Overview,
    PositionShare,
    PrecedingToken,
    SortKey,
    TokenEffect,
)
from lexiscope.index.tables.database import Database
from lexiscope.index.tables.listing import TOKEN_CLASSES, Listed, Listing, token_class

_DENSITY_BINS_PER_DECADE = 5
_LONGEST_NUMBER = 12


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
        self._text = read_text(artifact.checked_file(TEXT))
        self._sample = Sample.read(artifact.checked_file(SAMPLE), self._text.num_rows, self.num_features)
        self._firings = FiringTable(artifact, self._text.num_rows)
        self._read_tables()

    @classmethod
    def open(cls, path: Path | str) -> FeatureIndex:
        """Open an artifact of kind "index".

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        return cls(open_artifact(path, "index"))

    @_or_damaged
    def _read_tables(self) -> None:
        self._pieces, occurrences_V = self._database.tokens()
        if int(self._text.tokens_T.max()) >= len(self._pieces):
            raise ValueError("tokens that have no text")
        self._lowered = [piece.lower() for piece in self._pieces]
        self._classes_V = np.array([TOKEN_CLASSES.index(token_class(piece)) for piece in self._pieces], np.int8)
        self._describer = Describer(self._text, occurrences_V)
        self._listing = Listing(self._database.columns(), self.num_tokens)
        if int(self._listing.columns["max_row"].max(initial=-1)) >= self._text.num_rows:
            raise ValueError("rows that are not of this text")

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
        matching_F = self._matching(search, filters, among)
        numbers, matching = self._listing.page(matching_F, sort, descending=descending, limit=limit, offset=offset)
        rows = self._listing.rows(numbers)
        live = [row for row in rows if row.firings]
        peaks = dict(zip((row.feature for row in live), self._examples([self._peak(row) for row in live]), strict=True))
        return FeaturePage(
            features=[ListedFeature(**self._summary(row).model_dump(), example=peaks.get(row.feature)) for row in rows],
            matching=matching,
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
        detail = self._database.details(feature)
        rows_N, values_N = self._firings.of(self._database.cursor(), feature)
        said = self._describer.describe(feature, rows_N, values_N)
        tokens, histogram = said.tokens, said.histogram
        sections = self._sections(said.examples)
        coactivations, sampled = self._coactivations(feature, rows_N)
        return Feature(
            **self._summary(self._listing.rows([feature])[0]).model_dump(),
            histogram=ActivationHistogram(low=histogram.low, high=histogram.high, counts=histogram.counts.tolist()),
            frequent_tokens=[
                FrequentToken(
                    token=token, piece=self._pieces[token], share=share, coverage=coverage, mean_activation=mean
                )
                for token, share, coverage, mean in zip(
                    *(
                        column.tolist()
                        for column in (tokens.tokens_K, tokens.shares_K, tokens.coverages_K, tokens.means_K)
                    ),
                    strict=True,
                )
            ],
            preceding_tokens=[
                PrecedingToken(token=token, piece=self._pieces[token], share=share)
                for token, share in zip(tokens.preceding_K.tolist(), tokens.preceding_shares_K.tolist(), strict=True)
            ],
            ngrams=[
                NGram(pieces=[self._pieces[token] for token in gram.tokens], share=gram.share) for gram in said.ngrams
            ],
            positions=_positions(said.positions),
            kinds=self._kinds(detail["kind_shares"]),
            promoted_tokens=self._effects(detail["promoted_tokens"], detail["promoted_effects"]),
            suppressed_tokens=self._effects(detail["suppressed_tokens"], detail["suppressed_effects"]),
            effects=_histogram_of_effects(detail),
            neighbours=self._neighbours(detail["neighbour_features"], detail["neighbour_cosines"]),
            coactivations=coactivations,
            sampled_firings=sampled,
            strongest=[example for _, example in sections["strongest"]],
            bands=_bands(histogram, sections["band"]),
            weakest=[example for _, example in sections["weakest"]],
            silent=[example for _, example in sections["silent"]],
            random=[example for _, example in sections["random"]],
        )

    @_or_damaged
    def firings(self, feature: int) -> tuple[Rows, Values]:
        """Every row of the indexed text where a feature fires, ascending, and its activations there.

        Raises:
            UnknownFeatureError: there is no feature of this number.
        """
        self.check(feature)
        return self._firings.of(self._database.cursor(), feature)

    @_or_damaged
    def around(self, feature: int, rows: Sequence[int]) -> list[Example]:
        """Places of the indexed text, by row, as examples of a feature: it may fire there or be silent.

        Raises:
            UnknownFeatureError: there is no feature of this number.
        """
        rows_N, values_N = self.firings(feature)
        chosen = []
        for row in rows:
            focus, tokens_W = self._describer.window(row)
            low, high = np.searchsorted(rows_N, (row - focus, row - focus + len(tokens_W)))
            activations_W = np.zeros(len(tokens_W), np.float32)
            activations_W[rows_N[low:high] - (row - focus)] = values_N[low:high]
            found = float(activations_W[focus])
            chosen.append(examples.Example("around", 0, row, found, focus, tokens_W, activations_W))
        return self._examples(chosen)

    @property
    def text(self) -> Text:
        """The indexed text, by row."""
        return self._text

    @property
    def sample(self) -> Sample:
        """All codes of some rows of it."""
        return self._sample

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
        return {row.feature: self._summary(row) for row in self._listing.rows(features)}

    @property
    def means_F(self) -> NDArray[np.float32]:
        """Mean activation of each feature where it fires."""
        return self._listing.means_F

    def live(self) -> list[int]:
        """Numbers of the features that fire, ascending."""
        return np.flatnonzero(self._listing.columns["firings"]).tolist()

    def live_before(self, feature: int) -> int | None:
        """The nearest feature with a lower number that fires."""
        live = np.flatnonzero(self._listing.columns["firings"][: max(feature, 0)])
        return int(live[-1]) if len(live) else None

    def live_after(self, feature: int) -> int | None:
        """The nearest feature with a higher number that fires."""
        live = np.flatnonzero(self._listing.columns["firings"][max(feature + 1, 0) :])
        return feature + 1 + int(live[0]) if len(live) else None

    @_or_damaged
    def overview(self) -> Overview:
        """The dictionary as a whole."""
        live = self._listing.columns["firings"][self._listing.columns["firings"] > 0]
        low = int(np.floor(np.log10(1 / self.num_tokens)))
        counts, _ = np.histogram(np.log10(live / self.num_tokens), bins=-low * _DENSITY_BINS_PER_DECADE, range=(low, 0))
        return Overview(
            num_features=self.num_features,
            dead=self.num_features - len(live),
            tokens=self.num_tokens,
            firings_per_token=float(live.sum() / self.num_tokens),
            density=DensityHistogram(low=low, high=0, counts=counts.tolist()),
        )

    def _matching(
        self, search: str, filters: Filters | None, among: Collection[int] | None
    ) -> NDArray[np.bool_] | None:
        """Which features are asked for; None: all."""
        found = [self._found(search)] if search.strip() else []
        if filters is not None and filters != Filters():
            found.append(self._listing.meets(filters, list(self._kinds_of_text), self._classes_V))
        if among is not None:
            found.append(np.isin(np.arange(self.num_features), list(among)))
        return np.logical_and.reduce(found) if found else None

    def _found(self, search: str) -> NDArray[np.bool_]:
        """Which features a search finds."""
        wanted = search.strip().lower()
        if wanted.startswith("#") and wanted[1:].isdecimal() and len(wanted) < _LONGEST_NUMBER:
            one: NDArray[np.bool_] = np.arange(self.num_features) == int(wanted[1:])
            return one
        tokens = [token for token, piece in enumerate(self._lowered) if wanted in piece]
        return self._listing.mentions(tokens, len(self._pieces))

    def _summary(self, row: Listed) -> FeatureSummary:
        return FeatureSummary(
            feature=row.feature,
            dead=not row.firings,
            firings=row.firings,
            density=row.firings / self.num_tokens,
            max_activation=row.max_activation,
            mean_activation=row.mean_activation,
            documents=row.documents,
            variety=row.variety,
            tokens=[self._pieces[token] for token in row.tokens],
            promoted=[self._pieces[token] for token in row.promoted],
        )

    def _peak(self, row: Listed) -> examples.Example:
        """The place of a feature's largest activation, which is all that is known of it here."""
        focus, tokens_W = self._describer.window(row.max_row)
        activations_W = np.zeros(len(tokens_W), np.float32)
        activations_W[focus] = row.max_activation
        return examples.Example("strongest", 0, row.max_row, row.max_activation, focus, tokens_W, activations_W)

    def _examples(self, chosen: Sequence[examples.Example]) -> list[Example]:
        rows_E = np.array([example.row for example in chosen], np.int64)
        ordinals_E, positions_E = self._text.documents(rows_E).tolist(), self._text.positions(rows_E).tolist()
        documents = self._database.documents(sorted(set(ordinals_E)))
        made = []
        for example, ordinal, position in zip(chosen, ordinals_E, positions_E, strict=True):
            document, kind, licence, heldout = documents[ordinal]
            made.append(
                Example(
                    activation=example.activation,
                    row=example.row,
                    focus=example.focus,
                    pieces=[self._pieces[token] for token in example.tokens_W.tolist()],
                    activations=example.activations_W.tolist(),
                    document=document,
                    kind=kind,
                    licence=licence,
                    position=position,
                    heldout=heldout,
                )
            )
        return made

    def _sections(self, chosen: Sequence[examples.Example]) -> dict[str, list[tuple[int, Example]]]:
        """Examples with their bands, by section."""
        sections: dict[str, list[tuple[int, Example]]] = defaultdict(list)
        for example, made in zip(chosen, self._examples(chosen), strict=True):
            sections[example.section].append((example.band, made))
        return sections

    def _coactivations(self, feature: int, rows_N: Rows) -> tuple[list[CoActivation], int]:
        """What fires together with a feature most above chance, and on how many of its firings that was counted."""
        found = coactivations(self._sample, feature, rows_N, self._listing.columns["firings"], self._text.num_rows)
        summaries = self.summaries([other.feature for other in found.best])
        best = [CoActivation(**other._asdict(), tokens=summaries[other.feature].tokens) for other in found.best]
        return best, found.sampled

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


def _bands(histogram: Histogram, examples: Sequence[tuple[int, Example]]) -> list[Band]:
    bins = len(histogram.counts) // NUM_BANDS
    width = (histogram.high - histogram.low) / NUM_BANDS
    firings = histogram.counts.reshape(NUM_BANDS, bins).sum(1).tolist()
    return [
        Band(
            low=histogram.low + band * width,
            high=histogram.low + (band + 1) * width,
            firings=firings[band],
            share=firings[band] / sum(firings),
            examples=[example for of, example in examples if of == band],
        )
        for band in reversed(range(NUM_BANDS))
        if firings[band]
    ]


def _histogram_of_effects(detail: Mapping[str, Any]) -> EffectHistogram | None:
    if not detail["counts"]:
        return None
    return EffectHistogram(**{name: detail[name] for name in EffectHistogram.model_fields})


def _positions(counts: NDArray[np.int64]) -> list[PositionShare]:
    """Up to the last interval in which it fires."""
    edges = [*POSITION_EDGES.tolist(), None]
    used = len(np.trim_zeros(counts, "b"))
    return [
        PositionShare(first=edges[place], last=edges[place + 1], firings=count, share=count / int(counts.sum()))
        for place, count in enumerate(counts[:used].tolist())
    ]
