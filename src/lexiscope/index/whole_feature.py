"""whole_feature: everything about one feature, from the tables and from its firings. K entries of a list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.concordance.firings import Rows
from lexiscope.index.contents import Contents
from lexiscope.index.describing.coactivation import coactivations
from lexiscope.index.describing.describe import POSITION_EDGES, Description
from lexiscope.index.describing.histogram import NUM_BANDS, Histogram
from lexiscope.index.describing.tokens import TokenStatistics
from lexiscope.index.feature import (
    ActivationHistogram,
    Band,
    CoActivation,
    EffectHistogram,
    Example,
    Feature,
    FrequentToken,
    KindShare,
    Neighbour,
    NGram,
    PositionShare,
    PrecedingToken,
    TokenEffect,
)
from lexiscope.index.feature_list import FeatureList
from lexiscope.index.places import typed


def whole_feature(contents: Contents, features: FeatureList, feature: int) -> Feature:
    detail = contents.database.details(feature)
    rows_N, values_N = contents.firings.of(contents.database.cursor(), feature)
    said = contents.describer.describe(feature, rows_N, values_N)
    sections = _sections(contents, said)
    together, sampled = _coactivations(contents, features, feature, rows_N)
    return Feature(
        **features.summaries([feature])[feature].model_dump(),
        histogram=ActivationHistogram(
            low=said.histogram.low, high=said.histogram.high, counts=said.histogram.counts.tolist()
        ),
        frequent_tokens=_frequent(contents, said.tokens),
        preceding_tokens=[
            PrecedingToken(token=token, piece=contents.pieces[token], share=share)
            for token, share in _rows(said.tokens.preceding_K, said.tokens.preceding_shares_K)
        ],
        ngrams=[NGram(pieces=contents.words(list(gram.tokens)), share=gram.share) for gram in said.ngrams],
        positions=_positions(said.positions),
        kinds=_kinds(contents.said.kinds, detail["kind_shares"]),
        promoted_tokens=_effects(contents, detail["promoted_tokens"], detail["promoted_effects"]),
        suppressed_tokens=_effects(contents, detail["suppressed_tokens"], detail["suppressed_effects"]),
        effects=_histogram_of_effects(detail),
        neighbours=_neighbours(features, detail["neighbour_features"], detail["neighbour_cosines"]),
        coactivations=together,
        sampled_firings=sampled,
        strongest=[example for _, example in sections["strongest"]],
        bands=_bands(said.histogram, sections["band"]),
        weakest=[example for _, example in sections["weakest"]],
        silent=[example for _, example in sections["silent"]],
        random=[example for _, example in sections["random"]],
    )


def _rows(*columns_K: NDArray[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*(column_K.tolist() for column_K in columns_K), strict=True))


def _frequent(contents: Contents, tokens: TokenStatistics) -> list[FrequentToken]:
    return [
        FrequentToken(token=token, piece=contents.pieces[token], share=share, coverage=coverage, mean_activation=mean)
        for token, share, coverage, mean in _rows(tokens.tokens_K, tokens.shares_K, tokens.coverages_K, tokens.means_K)
    ]


def _positions(counts: NDArray[np.int64]) -> list[PositionShare]:
    """Up to the last interval in which it fires."""
    edges = [*POSITION_EDGES.tolist(), None]
    used = len(np.trim_zeros(counts, "b"))
    return [
        PositionShare(first=edges[place], last=edges[place + 1], firings=count, share=count / int(counts.sum()))
        for place, count in enumerate(counts[:used].tolist())
    ]


def _kinds(of_text: Mapping[str, float], shares: list[float]) -> list[KindShare]:
    kinds = [
        KindShare(kind=kind, share=share, share_of_text=of_text[kind])
        for kind, share in zip(of_text, shares, strict=True)
    ]
    return sorted(kinds, key=lambda kind: -kind.share)


def _effects(contents: Contents, tokens: list[int], effects: list[float]) -> list[TokenEffect]:
    return [
        TokenEffect(token=token, piece=contents.pieces[token], effect=effect)
        for token, effect in zip(tokens, effects, strict=True)
    ]


def _histogram_of_effects(detail: Mapping[str, Any]) -> EffectHistogram | None:
    if not detail["counts"]:
        return None
    return EffectHistogram(**{name: detail[name] for name in EffectHistogram.model_fields})


def _neighbours(features: FeatureList, numbers: list[int], cosines: list[float]) -> list[Neighbour]:
    summaries = features.summaries(numbers)
    return [
        Neighbour(feature=number, cosine=cosine, tokens=summaries[number].tokens)
        for number, cosine in zip(numbers, cosines, strict=True)
    ]


def _coactivations(
    contents: Contents, features: FeatureList, feature: int, rows_N: Rows
) -> tuple[list[CoActivation], int]:
    """What fires together with a feature most above chance, and on how many of its firings that was counted."""
    found = coactivations(contents.sample, feature, rows_N, contents.firings_F, contents.text.num_rows)
    summaries = features.summaries([other.feature for other in found.best])
    best = [CoActivation(**other._asdict(), tokens=summaries[other.feature].tokens) for other in found.best]
    return best, found.sampled


def _sections(contents: Contents, said: Description) -> dict[str, list[tuple[int, Example]]]:
    """Examples with their bands, by section."""
    sections: dict[str, list[tuple[int, Example]]] = defaultdict(list)
    for chosen, example in zip(said.examples, typed(contents, said.examples), strict=True):
        sections[chosen.section].append((chosen.band, example))
    return sections


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
