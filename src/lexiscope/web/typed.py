"""TypedText: what a dictionary sees in a text that somebody typed, as the page and its JSON show it."""

from __future__ import annotations

import math

from lexiscope.index.feature import Real
from lexiscope.index.live.parts import Decomposition
from lexiscope.index.live.reading import TokenInText
from lexiscope.web.drawing.characters import labelled, visible
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.view import View


class Firing(View):
    feature: int
    activation: Real
    relative: Real
    """Share of the largest activation of this feature in the indexed text; may exceed 1."""
    share: Real
    """Of what all features make of this token, 1 over all of them together; negative where it works against them."""


class NextToken(View):
    """A token that the model expects next."""

    shown: str
    probability: Real


class TypedToken(View):
    piece: str
    shown: str
    """The token with white space and control characters drawn."""
    firings: list[Firing]
    """Most telling first."""
    l0: int
    """How many features fire; the weakest of very many are not listed."""
    parts: Decomposition | None
    """None for a special token."""
    next_tokens: list[NextToken]
    loss: Real | None
    """Of the model on the token after it, nats; None for the last one."""
    spliced_loss: Real | None
    """The same with the reconstruction in place of every activation."""
    spliced_kl: Real
    """KL(model as it is ‖ with the reconstruction) of the next-token distribution, nats."""


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
    fvu: Real | None
    """Share of the variance of these tokens that the dictionary leaves unexplained."""
    error_share: Real
    """Of the activations, by projection, mean over tokens."""
    loss: Real | None
    """Mean over tokens, nats."""
    spliced_loss: Real | None


def typed_text(dictionary: Dictionary, text: str) -> TypedText:
    """Read a text.

    Raises:
        InputError: it can't be read; the message says why.
    """
    read = dictionary.reader.read(text, dictionary.index)
    counts: dict[int, int] = {}
    strongest: dict[int, float] = {}
    for token in read.tokens:
        for firing in token.firings:
            counts[firing.feature] = counts.get(firing.feature, 0) + 1
            strongest[firing.feature] = max(strongest.get(firing.feature, 0.0), _relative(firing.relative))
    summaries = dictionary.index.summaries(list(counts))
    rarity = {feature: -math.log10(max(summary.density, 1e-7)) for feature, summary in summaries.items()}
    order = sorted(counts, key=lambda feature: -strongest[feature] * rarity[feature])
    return TypedText(
        tokens=[_token(token, rarity) for token in read.tokens],
        features=[
            FeatureInText(
                feature=feature,
                fires_on=[labelled(piece) for piece in summaries[feature].tokens],
                tokens=counts[feature],
                relative=strongest[feature],
            )
            for feature in order
        ],
        left_out=read.left_out,
        fvu=read.fvu,
        error_share=read.error_share,
        loss=read.loss,
        spliced_loss=read.spliced_loss,
    )


def _token(token: TokenInText, rarity: dict[int, float]) -> TypedToken:
    firings = [
        Firing(
            feature=firing.feature,
            activation=firing.activation,
            relative=_relative(firing.relative),
            share=firing.share,
        )
        for firing in token.firings
    ]
    return TypedToken(
        piece=token.piece,
        shown=visible(token.piece),
        firings=sorted(firings, key=lambda firing: -firing.relative * rarity[firing.feature]),
        l0=token.l0,
        parts=token.parts,
        next_tokens=[
            NextToken(shown=labelled(expected.piece), probability=expected.probability)
            for expected in token.next_tokens
        ],
        loss=token.loss,
        spliced_loss=token.spliced_loss,
        spliced_kl=token.spliced_kl,
    )


def _relative(relative: float | None) -> float:
    """A feature that was dead on the indexed text has no measure of its own."""
    return 1.0 if relative is None else relative
