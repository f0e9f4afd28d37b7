"""A feature: everything the index knows about it, in one panel."""

from __future__ import annotations

from lexiscope.index.feature import Feature
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.scores import Fidelity, MatchedConcept, fidelity
from lexiscope.web.view import View

PATH = "/d/{name}/features/{feature:int}"
TEMPLATE = "feature.html"


class FeatureView(View):
    dictionary: DictionaryFacts
    fidelity: Fidelity | None
    """None where no scorecard of this SAE is in the folder."""
    feature: Feature
    concepts: list[MatchedConcept]
    """Concepts of the bank that this feature tells best."""
    previous: int | None
    """The nearest feature with a lower number that fires."""
    next: int | None


def read(library: AnyLibrary, name: str, feature: int) -> FeatureView:
    found = library.dictionary(name)
    return FeatureView(
        dictionary=facts(found, library),
        fidelity=fidelity(found.scorecard) if found.scorecard else None,
        feature=found.index.feature(feature),
        concepts=found.concepts.get(feature, []),
        previous=found.index.live_before(feature),
        next=found.index.live_after(feature),
    )
