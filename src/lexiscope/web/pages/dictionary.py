"""A dictionary: how far it can be trusted, how often its features fire, and a list of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Query

from lexiscope.index.feature import FeaturePage, Overview, SortKey
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.scores import MatchedConcept, ScoreTable, score_table
from lexiscope.web.view import View

PATH = "/d/{name}"
TEMPLATE = "dictionary.html"


class DictionaryView(View):
    dictionary: DictionaryFacts
    overview: Overview
    scores: ScoreTable | None
    """None where no scorecard of this SAE is in the folder."""
    page: FeaturePage
    concepts: dict[int, list[MatchedConcept]]
    """For the features on this page, the concepts that they tell best."""


def read(
    library: AnyLibrary,
    name: str,
    sort: SortKey = "max_activation",
    descending: bool = True,
    search: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 25,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> DictionaryView:
    found = library.dictionary(name)
    page = found.index.features(sort, descending=descending, search=search, limit=limit, offset=offset)
    return DictionaryView(
        dictionary=facts(found, library),
        overview=found.index.overview(),
        scores=score_table(found.scorecard) if found.scorecard else None,
        page=page,
        concepts={
            listed.feature: found.concepts[listed.feature]
            for listed in page.features
            if listed.feature in found.concepts
        },
    )


def rows(view: DictionaryView) -> Iterator[dict[str, Any]]:
    """The list of features as a table to keep."""
    for listed in view.page.features:
        matched = [concept.name for concept in view.concepts.get(listed.feature, [])]
        yield {**listed.model_dump(mode="json", exclude={"example"}), "concepts": matched}
