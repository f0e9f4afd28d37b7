"""The map: decoder directions of a dictionary in the plane, coloured by what is known of the features."""

from __future__ import annotations

from typing import Literal

from lexiscope.core.errors import LexiscopeError
from lexiscope.index.feature import Real
from lexiscope.web.drawing.characters import labelled
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

PATH = "/d/{name}/map"
TEMPLATE = "map.html"
Colour = Literal["density", "max_activation", "variety", "documents"]


class Point(View):
    """A feature on the map."""

    feature: int
    x: Real
    y: Real
    density: Real
    max_activation: Real
    variety: Real
    documents: int
    tokens: str
    """What it fires on most often, drawn."""


class MapView(View):
    dictionary: DictionaryFacts
    coloured_by: Colour
    live: int
    """Features that fire; of very many a part is drawn."""
    points: list[Point]
    held: Real
    """Share of the variance of the directions that the two axes hold."""
    problem: str | None
    """Why nothing can be drawn."""


def read(library: AnyLibrary, name: str, coloured_by: Colour = "density") -> MapView:
    found = library.dictionary(name)
    about = facts(found, library)
    live = len(found.index.live())
    try:
        places = found.places
    except (LexiscopeError, OSError, ValueError) as error:
        return MapView(dictionary=about, coloured_by=coloured_by, live=live, points=[], held=0, problem=str(error))
    if places is None:
        why = "the SAE of this index is not in the folder that is shown"
        return MapView(dictionary=about, coloured_by=coloured_by, live=live, points=[], held=0, problem=why)
    features = places.features_N.tolist()
    summaries = found.index.summaries(features)
    return MapView(
        dictionary=about,
        coloured_by=coloured_by,
        live=live,
        points=[
            Point(
                feature=feature,
                x=x,
                y=y,
                tokens=" ".join(labelled(piece) for piece in summaries[feature].tokens[:4]),
                **summaries[feature].model_dump(include={"density", "max_activation", "variety", "documents"}),
            )
            for feature, (x, y) in zip(features, places.places_N2.tolist(), strict=True)
        ],
        held=places.held,
        problem=None,
    )
