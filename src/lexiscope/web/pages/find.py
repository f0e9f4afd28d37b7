"""Find: features by what they promote, and by texts on which they fire and others on which they do not."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from lexiscope.core.errors import LexiscopeError
from lexiscope.index.directions.effects import Promoters
from lexiscope.index.feature import FeatureSummary
from lexiscope.index.live.by_example import ByExample
from lexiscope.web.folder.scores import Fidelity, fidelity
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.reader import MAX_EXAMPLES
from lexiscope.web.view import View

PATH = "/d/{name}/find"
TEMPLATE = "find.html"
_MOST_LISTED = 40
Word = Annotated[str, Query(max_length=100)]
Texts = Annotated[str, Query(max_length=2000)]


class FindView(View):
    dictionary: DictionaryFacts
    fidelity: Fidelity | None
    """None where no scorecard of this SAE is in the folder."""
    promotes: str
    wanted: str
    """Texts on which features are to fire, one on a line."""
    unwanted: str
    promoters: Promoters | None
    by_example: ByExample | None
    features: dict[int, FeatureSummary]
    """Those that were found."""
    labels: dict[int, str]
    problem: str | None
    """Why there is no answer."""


def read(library: AnyLibrary, name: str, promotes: Word = "", wanted: Texts = "", unwanted: Texts = "") -> FindView:
    found = library.dictionary(name)
    promoters = by_example = problem = None
    try:
        if promotes.strip():
            promoters = found.reader.promotes(promotes, by="standardised", keep=_MOST_LISTED)
        elif _lines(wanted):
            by_example = found.reader.by_example(_lines(wanted), _lines(unwanted), index=found.index, keep=_MOST_LISTED)
    except LexiscopeError as error:
        problem = str(error)
    numbers = [one.feature for one in promoters.features] if promoters else []
    numbers += [one.feature for one in by_example.features] if by_example else []
    return FindView(
        dictionary=facts(found, library),
        fidelity=fidelity(found.scorecard) if found.scorecard else None,
        promotes=promotes,
        wanted=wanted,
        unwanted=unwanted,
        promoters=promoters,
        by_example=by_example,
        features=found.index.summaries(numbers),
        labels=found.notebook.labels(numbers),
        problem=problem,
    )


def _lines(texts: str) -> list[str]:
    return [line for line in texts.splitlines() if line.strip()][: MAX_EXAMPLES // 2]
