"""The map: decoder directions of a dictionary in the plane, coloured by what is known of the features."""

from __future__ import annotations

from typing import Literal

from lexiscope.core.errors import LexiscopeError
from lexiscope.index.feature import Real, TokenClass
from lexiscope.index.notes import Notes
from lexiscope.index.tables.listing import token_class
from lexiscope.web.drawing.characters import labelled
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

PATH = "/d/{name}/map"
TEMPLATE = "map.html"
Colour = Literal[
    "density",
    "max_activation",
    "variety",
    "documents",
    "unusual",
    "nearest_cosine",
    "kind",
    "token_class",
    "label",
    "tag",
    "cluster",
]
"""Numbers, then groups."""
_TAGS_TOLD = 8
"""The most frequent ones."""
_CLUSTERED_AT_ONCE = 1 << 17
"""Clusters of more features are told only where they are asked for: they take a second or so."""


class Point(View):
    """A feature on the map."""

    feature: int
    x: Real
    y: Real
    density: Real
    max_activation: Real
    variety: Real
    documents: int
    unusual: Real
    """Distance from the middle of the dictionary, in robust standard deviations."""
    nearest_cosine: Real
    kind: str | None
    """Of document, with at least half of its firings."""
    token_class: TokenClass | None
    """Of the token that it fires on most often."""
    label: str | None
    tags: list[str]
    """Those of the most frequent tags that it has."""
    cluster: int | None
    """The smallest feature of its cluster; None where it is in none, or where clusters are not told."""
    tokens: str
    """What it fires on most often, drawn."""


class MapView(View):
    dictionary: DictionaryFacts
    coloured_by: Colour
    live: int
    """Features that fire; of very many a part is drawn."""
    points: list[Point]
    clustered: bool
    """Clusters are told."""
    held: Real
    """Share of the variance of the directions that the two axes hold."""
    problem: str | None
    """Why nothing can be drawn."""


def read(library: AnyLibrary, name: str, coloured_by: Colour = "density") -> MapView:
    found = library.dictionary(name)
    about = facts(found, library)
    live = int((found.index.firings_F > 0).sum())
    problem, places = None, None
    try:
        places = found.places
        if places is None:
            problem = "the SAE of this index is not in the folder that is shown"
    except (LexiscopeError, OSError, ValueError) as error:
        problem = str(error)
    clustered = coloured_by == "cluster" or found.index.num_features <= _CLUSTERED_AT_ONCE
    return MapView(
        dictionary=about,
        coloured_by=coloured_by,
        live=live,
        points=_points(found, places.features_N.tolist(), places.places_N2.tolist(), clustered) if places else [],
        clustered=clustered,
        held=places.held if places else 0,
        problem=problem,
    )


def _points(found: Dictionary, features: list[int], places: list[list[float]], clustered: bool) -> list[Point]:
    index = found.index
    summaries, oddities, kinds = index.summaries(features), index.oddities(features), index.kinds(features)
    labels, tags = found.notebook.labels(features), _tags(found)
    clusters = found.clusters if clustered else None
    points = []
    for feature, (x, y) in zip(features, places, strict=True):
        summary = summaries[feature]
        cluster = int(clusters.of_F[feature]) if clusters else -1
        points.append(
            Point(
                x=x,
                y=y,
                unusual=oddities[feature].unusual,
                nearest_cosine=oddities[feature].nearest_cosine,
                kind=kinds[feature],
                token_class=token_class(summary.tokens[0]) if summary.tokens else None,
                label=labels.get(feature),
                tags=[tag for tag, those in tags.items() if feature in those],
                cluster=int(clusters.members_M[clusters.offsets[cluster]]) if clusters and cluster >= 0 else None,
                tokens=" ".join(labelled(piece) for piece in summary.tokens[:4]),
                **summary.model_dump(include={"feature", "density", "max_activation", "variety", "documents"}),
            )
        )
    return points


def _tags(found: Dictionary) -> dict[str, set[int]]:
    """The features with each of the most frequent tags; none where they can't be read."""

    def ask(notes: Notes) -> dict[str, set[int]]:
        return {tag: set(notes.tags.features(tag)) for tag in notes.tags.counts(_TAGS_TOLD)}

    nothing: dict[str, set[int]] = {}
    try:
        return found.notebook.read(ask, nothing)
    except LexiscopeError:
        return nothing
