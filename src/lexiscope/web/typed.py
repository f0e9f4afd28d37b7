"""TypedText: what a dictionary sees in a text that somebody typed, as the page and its JSON show it."""

from __future__ import annotations

import math

from lexiscope.index.feature import Real
from lexiscope.web.characters import labelled, visible
from lexiscope.web.library import Dictionary
from lexiscope.web.view import View


class Firing(View):
    feature: int
    activation: Real
    relative: Real
    """Share of the largest activation of this feature in the indexed text; may exceed 1."""


class TypedToken(View):
    piece: str
    shown: str
    """The token with white space and control characters drawn."""
    firings: list[Firing]
    """Most telling first."""


class FeatureInText(View):
    feature: int
    fires_on: list[str]
    """The tokens it fires on most often, drawn."""
    tokens: int
    """On how many tokens of the text it fires."""
    relative: Real
    """Its strongest firing here, as in `Firing`."""


class TypedText(View):
    tokens: list[TypedToken]
    features: list[FeatureInText]
    """Every feature that fires, most telling first: how strongly it fires by its own measure, times how rarely it does
    (-log10 of its density), so that features that are always on come last."""
    left_out: int
    """Tokens at the end that were too many to read."""


def typed_text(dictionary: Dictionary, text: str) -> TypedText:
    """Read a text.

    Raises:
        InputError: it can't be read; the message says why.
    """
    read = dictionary.reader.read(text)
    counts: dict[int, int] = {}
    for token in read.tokens:
        for feature, _ in token.firings:
            counts[feature] = counts.get(feature, 0) + 1
    summaries = dictionary.index.summaries(list(counts))
    rarity = {feature: _rarity(summary.density) for feature, summary in summaries.items()}
    strongest = dict.fromkeys(counts, 0.0)
    tokens = []
    for token in read.tokens:
        firings = []
        for feature, activation in token.firings:
            # A feature that was dead on the indexed text has no measure of its own.
            most = summaries[feature].max_activation
            relative = activation / most if most > 0 else 1.0
            strongest[feature] = max(strongest[feature], relative)
            firings.append(Firing(feature=feature, activation=activation, relative=relative))
        firings.sort(key=lambda firing: -firing.relative * rarity[firing.feature])
        tokens.append(TypedToken(piece=token.piece, shown=visible(token.piece), firings=firings))
    order = sorted(counts, key=lambda feature: -strongest[feature] * rarity[feature])
    features = [
        FeatureInText(
            feature=feature,
            fires_on=[labelled(piece) for piece in summaries[feature].tokens],
            tokens=counts[feature],
            relative=strongest[feature],
        )
        for feature in order
    ]
    return TypedText(tokens=tokens, features=features, left_out=read.left_out)


def _rarity(density: float) -> float:
    return -math.log10(max(density, 1e-7))
