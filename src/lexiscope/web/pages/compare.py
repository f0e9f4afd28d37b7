"""Compare: two features side by side, or two dictionaries. The address carries the view.

/compare?a=demo:123&b=demo:77     two features, of the same dictionary or of two
/compare?a=demo&b=other           two dictionaries
/compare?a=demo:123               one, and a form for the other
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from lexiscope.core.errors import InputError
from lexiscope.index.feature import Overview
from lexiscope.web.compare import FeaturePair, compare_features
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.folder.scores import Fidelity, ScoreTable, fidelity, score_table
from lexiscope.web.matching import Matches, matches
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

PATH = "/compare"
TEMPLATE = "compare.html"
_LONGEST_NUMBER = 12


class Side(View):
    """One of the two."""

    asked: str
    """As in the address."""
    dictionary: DictionaryFacts
    fidelity: Fidelity | None
    """None where no scorecard of this SAE is in the folder."""


class DictionaryPair(View):
    scores_a: ScoreTable | None
    scores_b: ScoreTable | None
    overview_a: Overview
    overview_b: Overview
    matches: Matches


class CompareView(View):
    a: str
    b: str
    names: list[str]
    """Of the dictionaries there are."""
    sides: list[Side]
    """Two, or none where something is still to be chosen."""
    features: FeaturePair | None
    dictionaries: DictionaryPair | None


Asked = Annotated[str, Query(max_length=100)]


def read(library: AnyLibrary, a: Asked = "", b: Asked = "") -> CompareView:
    names = [found.name for found in library.dictionaries()]
    asked = [_asked(library, value) if value else None for value in (a, b)]
    if asked[0] is None or asked[1] is None:
        return CompareView(a=a, b=b, names=names, sides=[], features=None, dictionaries=None)
    (one, first), (other, second) = asked[0], asked[1]
    if (first is None) != (second is None):
        raise InputError("a feature and a dictionary can't be compared; give two of a kind, such as a=demo:1&b=demo:2")
    features = None
    if first is not None and second is not None:
        features = compare_features(one, first, other, second)
    return CompareView(
        a=a,
        b=b,
        names=names,
        sides=[
            Side(
                asked=value,
                dictionary=facts(found, library),
                fidelity=fidelity(found.scorecard) if found.scorecard else None,
            )
            for value, found in ((a, one), (b, other))
        ],
        features=features,
        dictionaries=None if features else _pair(one, other),
    )


def _pair(one: Dictionary, other: Dictionary) -> DictionaryPair:
    return DictionaryPair(
        scores_a=score_table(one.scorecard) if one.scorecard else None,
        scores_b=score_table(other.scorecard) if other.scorecard else None,
        overview_a=one.index.overview(),
        overview_b=other.index.overview(),
        matches=matches(one, other),
    )


def _asked(library: AnyLibrary, value: str) -> tuple[Dictionary, int | None]:
    """A dictionary, and the number of a feature if one was asked for."""
    name, colon, number = value.strip().partition(":")
    found = library.dictionary(name)
    if not colon:
        return found, None
    if not (number.isascii() and number.isdecimal() and len(number) < _LONGEST_NUMBER):
        raise InputError(f"{value!r} names no feature; give the dictionary and a number, such as {name}:123")
    found.index.check(int(number))
    return found, int(number)
