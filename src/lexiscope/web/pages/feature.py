"""A feature: everything the index knows about it, and what people wrote and measured, in one panel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lexiscope.index.directions.relations import LEAST_COSINE, LEAST_JACCARD, Duplicate
from lexiscope.index.feature import Example, Feature
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.steer.experiments.findings import Findings
from lexiscope.web import tested
from lexiscope.web.ablated import Ablated, known
from lexiscope.web.folder.scores import Fidelity, MatchedConcept, fidelity
from lexiscope.web.notebook import Marks, whoever_runs_this
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

PATH = "/d/{name}/features/{feature:int}"
TEMPLATE = "feature.html"
_MOST_COMPARED = 4
"""Neighbours whose firings are read to tell duplicates."""


class FeatureView(View):
    dictionary: DictionaryFacts
    fidelity: Fidelity | None
    """None where no scorecard of this SAE is in the folder."""
    feature: Feature
    concepts: list[MatchedConcept]
    """Concepts of the bank that this feature tells best."""
    marks: Marks
    labels: dict[int, str]
    """Of its neighbours and of what fires together with it, those that have one."""
    duplicates: list[Duplicate]
    """Neighbours that point almost the same way and fire on the same tokens."""
    ablated: Ablated | None
    """None: nobody has measured yet what taking it out does."""
    tested: Findings
    """What patching it and sweeping its strength found."""
    writer: str
    """The name that marks are written under where nobody gives one."""
    read_only: bool
    """Nothing can be written down: no marks, no ablations."""
    previous: int | None
    """The nearest feature with a lower number that fires."""
    next: int | None


def read(library: AnyLibrary, name: str, feature: int) -> FeatureView:
    found = library.dictionary(name)
    shown = found.index.feature(feature)
    beside = [*(near.feature for near in shown.neighbours), *(other.feature for other in shown.coactivations)]
    return FeatureView(
        dictionary=facts(found, library),
        fidelity=fidelity(found.scorecard) if found.scorecard else None,
        feature=shown,
        concepts=found.concepts.get(feature, []),
        marks=found.notebook.marks(feature),
        labels=found.notebook.labels(beside),
        duplicates=_duplicates(found.index, shown),
        ablated=known(found, shown),
        tested=tested.known(found, feature),
        writer=whoever_runs_this(),
        read_only=library.read_only,
        previous=found.index.live_before(feature),
        next=found.index.live_after(feature),
    )


def rows(view: FeatureView) -> Iterator[dict[str, Any]]:
    """The examples as a table to keep."""
    feature = view.feature
    for section, examples in (
        ("strongest", feature.strongest),
        *((f"{band.low:g} to {band.high:g}", band.examples) for band in feature.bands),
        ("weakest", feature.weakest),
        ("silent on its tokens", feature.silent),
        ("random silent", feature.random),
    ):
        yield from (_row(feature.feature, section, example) for example in examples)


def _row(feature: int, section: str, example: Example) -> dict[str, Any]:
    focus = example.focus
    return {
        "feature": feature,
        "section": section,
        "activation": example.activation,
        "before": "".join(example.pieces[:focus]),
        "token": example.pieces[focus],
        "after": "".join(example.pieces[focus + 1 :]),
        **example.model_dump(include={"document", "kind", "licence", "position", "heldout", "row"}),
    }


def _duplicates(index: FeatureIndex, feature: Feature) -> list[Duplicate]:
    """Only neighbours so close, which fire about as often, are compared, and there are seldom any."""
    close = [other for other in feature.neighbours if other.cosine > LEAST_COSINE][:_MOST_COMPARED]
    close = [other for other in close if _may_overlap(feature.firings, int(index.firings_F[other.feature]))]
    if not close:
        return []
    own, _ = index.firings(feature.feature)
    found = []
    for other in close:
        theirs, _ = index.firings(other.feature)
        both = len(np.intersect1d(own, theirs, assume_unique=True))
        either = len(own) + len(theirs) - both
        if both and both >= LEAST_JACCARD * either:
            found.append(
                Duplicate(first=feature.feature, second=other.feature, cosine=other.cosine, jaccard=both / either)
            )
    return found


def _may_overlap(own: int, theirs: int) -> bool:
    """Whether sets of these sizes can share enough: at best the smaller is a part of the larger."""
    return min(own, theirs) >= LEAST_JACCARD * max(own, theirs) > 0
