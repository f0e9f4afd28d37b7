"""A dictionary: how far it can be trusted, how often its features fire, and a list of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import Query

from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.index.feature import FeaturePage, Filters, Oddity, Overview, SortKey, TokenClass
from lexiscope.index.notes import Notes
from lexiscope.index.notes.search import MOST_HITS
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.folder.scores import MatchedConcept, ScoreTable, score_table
from lexiscope.web.folder.siblings import Trade, trades
from lexiscope.web.meaning import meant
from lexiscope.web.notebook import Notebook
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.pages.map import Colour
from lexiscope.web.view import View

PATH = "/d/{name}"
TEMPLATE = "dictionary.html"
Look = Literal["tokens", "labels", "meaning", "notes", "tags"]
Marked = Literal["any", "labelled", "bookmarked"]
Number = Annotated[float | None, Query(ge=0, le=1e12)]
Cosine = Annotated[float | None, Query(ge=-1, le=1)]
Count = Annotated[int | None, Query(ge=0, le=10**12)]


class DictionaryView(View):
    dictionary: DictionaryFacts
    overview: Overview
    scores: ScoreTable | None
    """None where no scorecard of this SAE is in the folder."""
    trades: list[Trade]
    """This SAE beside others and beside trivial dictionaries; empty without a scorecard."""
    page: FeaturePage
    look: Look
    filters: Filters
    marked: Marked
    tag: str
    cluster: int | None
    """Only features in the cluster of this one."""
    kinds: list[str]
    """Of document, in the indexed text."""
    tags: list[str]
    """The most frequent ones."""
    coloured_by: Colour
    """Of the map."""
    concepts: dict[int, list[MatchedConcept]]
    """For the features on this page, the concepts that they tell best."""
    labels: dict[int, str]
    """For the features on this page, what they are said to be about."""
    oddities: dict[int, Oddity]
    """For the live features on this page, how far they lie from the middle of the dictionary."""
    problem: str | None
    """Why what people wrote could not be searched."""


def read(
    library: AnyLibrary,
    name: str,
    sort: SortKey = "max_activation",
    descending: bool = True,
    search: Annotated[str, Query(max_length=100)] = "",
    look: Look = "tokens",
    density_from: Number = None,
    density_to: Number = None,
    max_activation_from: Number = None,
    max_activation_to: Number = None,
    variety_from: Number = None,
    variety_to: Number = None,
    documents_from: Count = None,
    documents_to: Count = None,
    nearest_cosine_from: Cosine = None,
    nearest_cosine_to: Cosine = None,
    unusual_from: Number = None,
    unusual_to: Number = None,
    kind: Annotated[str | None, Query(max_length=200)] = None,
    token_class: TokenClass | None = None,
    dead: bool | None = None,
    marked: Marked = "any",
    tag: Annotated[str, Query(max_length=200)] = "",
    cluster: Annotated[int | None, Query(ge=0, le=2**31)] = None,
    coloured_by: Colour = "density",
    limit: Annotated[int, Query(ge=1, le=200)] = 25,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> DictionaryView:
    found = library.dictionary(name)
    filters = Filters(
        density_from=density_from,
        density_to=density_to,
        max_activation_from=max_activation_from,
        max_activation_to=max_activation_to,
        variety_from=variety_from,
        variety_to=variety_to,
        documents_from=documents_from,
        documents_to=documents_to,
        nearest_cosine_from=nearest_cosine_from,
        nearest_cosine_to=nearest_cosine_to,
        unusual_from=unusual_from,
        unusual_to=unusual_to,
        kind=kind,
        token_class=token_class,
        dead=dead,
    )
    among, problem = None, None
    tags: list[str] = []
    try:
        among = _written(found.notebook, search, look, marked, tag)
        tags = found.notebook.read(lambda notes: list(notes.tags.counts(50)), tags)
    except LexiscopeError as error:
        among, problem = set(), str(error)
    if cluster is not None:
        beside = _clustered(found, cluster)
        among = beside if among is None else among & beside
    page = found.index.features(
        sort,
        descending=descending,
        search=search if look == "tokens" else "",
        filters=filters,
        among=among,
        limit=limit,
        offset=offset,
    )
    listed = [row.feature for row in page.features]
    return DictionaryView(
        dictionary=facts(found, library),
        overview=found.index.overview(),
        scores=score_table(found.scorecard) if found.scorecard else None,
        trades=trades(found.scorecard, library.other_scorecards(found)) if found.scorecard else [],
        page=page.model_copy(update={"search": search}),
        look=look,
        filters=filters,
        marked=marked,
        tag=tag,
        cluster=cluster,
        kinds=sorted(found.artifact.manifest["kinds"]),
        tags=tags,
        coloured_by=coloured_by,
        concepts={feature: found.concepts[feature] for feature in listed if feature in found.concepts},
        labels=found.notebook.labels(listed),
        oddities=found.index.oddities(listed),
        problem=problem,
    )


def rows(view: DictionaryView) -> Iterator[dict[str, Any]]:
    """The list of features as a table to keep."""
    for listed in view.page.features:
        matched = [concept.name for concept in view.concepts.get(listed.feature, [])]
        yield {
            **listed.model_dump(mode="json", exclude={"example"}),
            "label": view.labels.get(listed.feature),
            "concepts": matched,
            **(view.oddities[listed.feature].model_dump() if listed.feature in view.oddities else {}),
        }


def _clustered(found: Dictionary, feature: int) -> set[int]:
    """The features in the same cluster as one; itself alone where it is in none.

    Raises:
        InputError: there is no such feature.
    """
    found.index.check(feature)
    number = int(found.clusters.of_F[feature])
    return set(found.clusters.members(number)) if number >= 0 else {feature}


def _hits(notes: Notes, search: str, look: Literal["labels", "meaning", "notes", "tags"]) -> set[int]:
    """The features that match best."""
    if look == "meaning":
        return meant(notes, search)
    hits = notes.search(search, look, as_typed=True, limit=MOST_HITS).hits
    return {hit.feature for hit in hits if hit.feature is not None}


def _written(notebook: Notebook, search: str, look: Look, marked: Marked, tag: str) -> set[int] | None:
    """The features that people wrote what is asked for about; None: nothing of the kind is asked for.

    Raises:
        LexiscopeError: the notes can't be read or searched.
    """
    nothing: set[int] = set()
    asked: list[set[int]] = []
    if search.strip() and look != "tokens":
        asked.append(notebook.read(lambda notes: _hits(notes, search, look), nothing))
    if marked != "any":
        asked.append(notebook.marked(marked))
    if tag:
        if "\0" in tag:
            raise InputError("a tag has no NUL character in it")
        asked.append(notebook.read(lambda notes: set(notes.tags.features(tag)), nothing))
    return set.intersection(*asked) if asked else None
