"""What a reader gets to know about features: plain typed values, the same for Python, JSON and HTML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

SortKey = Literal[
    "feature",
    "firings",
    "density",
    "max_activation",
    "mean_activation",
    "variety",
    "documents",
    "nearest_cosine",
    "effects_kurtosis",
    "unusual",
]
"""``nearest_cosine``: to the most similar decoder direction, large for duplicates. ``effects_kurtosis``: large where a
few tokens of the vocabulary stand out. ``unusual``: how far a feature lies from the middle of the dictionary in all."""


Real = Annotated[float, BeforeValidator(lambda value: float(f"{value:.6g}"))]
"""A number kept to six digits: activations are stored as float32, which has no more."""


class Record(BaseModel):
    """A value that was read from an index."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


TokenClass = Literal["word", "number", "punctuation", "space", "other"]
"""What the token that a feature fires on most often is made of: letters of any script, digits, marks, white space."""


class Filters(Record):
    """What the features of a list have in common. Limits are included; None is no limit."""

    density_from: float | None = None
    density_to: float | None = None
    max_activation_from: float | None = None
    max_activation_to: float | None = None
    variety_from: float | None = None
    variety_to: float | None = None
    documents_from: int | None = None
    documents_to: int | None = None
    nearest_cosine_from: float | None = None
    nearest_cosine_to: float | None = None
    unusual_from: float | None = None
    unusual_to: float | None = None
    kind: str | None = None
    """At least half of its firings are in documents of this kind."""
    token_class: TokenClass | None = None
    dead: bool | None = None


class TokenEffect(Record):
    """A token, and by how much one unit of activation changes its logit relative to the mean logit."""

    token: int
    piece: str
    effect: Real


class EffectHistogram(Record):
    """How the effects of a feature on all tokens of the vocabulary lie."""

    low: Real
    high: Real
    counts: list[int]
    """Tokens in bins of equal width from ``low`` to ``high``."""
    std: Real
    skewness: Real
    """0: as many tokens are promoted as suppressed; positive: a few are promoted, and far."""
    kurtosis: Real
    """3 for a bell curve, as a direction without meaning has; larger: few tokens stand out."""


class FrequentToken(Record):
    """A token that the feature fires on."""

    token: int
    piece: str
    share: Real
    """Share of the feature's firings that are on this token, 0..1."""
    coverage: Real
    """Share of the token's occurrences on which the feature fires, 0..1."""
    mean_activation: Real


class PrecedingToken(Record):
    """A token that stands right before firings of the feature."""

    token: int
    piece: str
    share: Real
    """Share of the feature's firings, 0..1."""


class NGram(Record):
    """Tokens that end where the feature fires."""

    pieces: list[str]
    share: Real
    """Share of the feature's firings that end them, 0..1."""


class PositionShare(Record):
    """How often the feature fires at some places of a context."""

    first: int
    """The interval begins after this many tokens of the context."""
    last: int | None
    """It ends before this many; None: it has no end."""
    firings: int
    share: Real
    """Share of the feature's firings, 0..1."""


class CoActivation(Record):
    """A feature that fires on the same tokens."""

    feature: int
    together: int
    """On how many tokens of the sample both fire."""
    share: Real
    """Share of this feature's firings in the sample on which the other fires too, 0..1."""
    pmi: Real
    """Natural logarithm of how many times more often than by chance they fire together."""
    tokens: list[str]
    """The tokens that the other fires on most often."""


class KindShare(Record):
    """How the firings fall on kinds of document."""

    kind: str
    share: Real
    """Share of the feature's firings, 0..1."""
    share_of_text: Real
    """Share of all tokens of the store, 0..1."""


Trait = Literal["density", "peak", "variety", "per_document", "effects_kurtosis", "nearest_cosine"]
"""Numbers of a feature that may be unusual. ``peak``: its largest activation over its mean. ``per_document``: firings
in each document where it fires. All but the cosine are compared by their logarithms."""


class Oddity(Record):
    """How far a live feature lies from the middle of its dictionary."""

    unusual: Real
    """√Σ deviation² over all numbers."""
    trait: Trait
    """The number that deviates most."""
    deviation: Real
    """Of that number from the median, in robust standard deviations; negative: below."""
    nearest_cosine: Real
    """To the most similar decoder direction."""


class Neighbour(Record):
    """Another live feature, and the cosine between the two decoder directions."""

    feature: int
    cosine: Real
    tokens: list[str]
    """The tokens it fires on most often."""


class ActivationHistogram(Record):
    """Counts of firings in bins of equal width from ``low`` to ``high``."""

    low: Real
    high: Real
    counts: list[int]


class Example(Record):
    """A place in the text, where the feature fires or where it is silent."""

    activation: Real
    """0 where it is silent."""
    row: int
    """Of the indexed text."""
    focus: int
    """Index of the token that this is about in the window."""
    pieces: list[str]
    activations: list[Real]
    """Activation of this feature on every token of the window."""
    document: str
    kind: str
    licence: str
    position: int
    """Index of the token in its document."""
    heldout: bool
    """Whether the document was kept from training."""


class Band(Record):
    """Examples from one interval of the activation range."""

    low: Real
    high: Real
    firings: int
    share: Real
    """Share of the feature's firings in this interval, 0..1."""
    examples: list[Example]


class FeatureSummary(Record):
    """One row of the feature list."""

    feature: int
    dead: bool
    firings: int
    density: Real
    """Share of tokens on which the feature fires, 0..1."""
    max_activation: Real
    mean_activation: Real
    """Mean over firings."""
    documents: int
    """In how many documents it fires."""
    variety: Real
    """Exponential of the entropy of the tokens fired on: 1 = always the same token, or never fires."""
    tokens: list[str]
    """The tokens it fires on most often."""
    promoted: list[str]
    """The tokens whose logits it raises most."""


class ListedFeature(FeatureSummary):
    """A row of the feature list with the place of its largest activation (none for a dead feature)."""

    example: Example | None
    """Only the activation of the token itself is filled in."""


class FeaturePage(Record):
    """A page of the feature list."""

    features: list[ListedFeature]
    matching: int
    """How many features match the search in all."""
    offset: int
    limit: int
    sort: SortKey
    descending: bool
    search: str


class Feature(FeatureSummary):
    """Everything the index knows about one feature."""

    histogram: ActivationHistogram
    frequent_tokens: list[FrequentToken]
    preceding_tokens: list[PrecedingToken]
    ngrams: list[NGram]
    positions: list[PositionShare]
    kinds: list[KindShare]
    promoted_tokens: list[TokenEffect]
    suppressed_tokens: list[TokenEffect]
    effects: EffectHistogram | None
    """None where its direction does not act on the logits directly."""
    neighbours: list[Neighbour]
    coactivations: list[CoActivation]
    """What fires together with it most above chance, counted on the rows of the index's sample."""
    sampled_firings: int
    """How many of its firings are in that sample."""
    strongest: list[Example]
    bands: list[Band]
    """From the highest interval to the lowest; intervals without firings are left out."""
    weakest: list[Example]
    silent: list[Example]
    """Where it is silent on the tokens that it fires on most often."""
    random: list[Example]
    """Anywhere that it is silent."""


class DensityHistogram(Record):
    """Counts of live features in bins of equal width of log10(density)."""

    low: Real
    high: Real
    counts: list[int]


class Overview(Record):
    """The dictionary as a whole."""

    num_features: int
    dead: int
    tokens: int
    """How many tokens were read."""
    firings_per_token: Real
    """L0 on the indexed text."""
    density: DensityHistogram
