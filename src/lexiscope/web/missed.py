"""Missed: places where a feature almost fires, found when somebody asks and kept in the notes.

Looked at are the contexts of some places where the feature is silent although the token is one that it often fires on,
and of some drawn from the whole text. All of their tokens count, up to the place and a few after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime

import numpy as np
from pydantic import ValidationError

from lexiscope.core.errors import LexiscopeError
from lexiscope.core.seeds import derive_seed
from lexiscope.index.feature import Example, Feature, Real, Record
from lexiscope.index.live.ablation import Window, windows_at
from lexiscope.index.live.near_misses import NearMisses, NoNearMissesError, Rule
from lexiscope.index.notes import Notes, Result
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.notebook import by
from lexiscope.web.view import View

KIND = "near_misses"
_OWN_TOKENS = 3
_PLACES = 16
"""Of each sort."""
_BEFORE, _AFTER = 256, 12
_ROWS_SEARCHED = 1 << 18
_SHOWN = 12
_PER_CONTEXT = 2
_SAME_BEFORE, _SAME_AFTER = 6, 3
"""Tokens around two places that are not shown twice."""


class Miss(Record):
    """A place where it almost fires."""

    row: int
    """Of the indexed text."""
    pre_activation: Real
    bar: Real
    """What the pre-activation would have had to exceed."""


class Missed(Record):
    """What is kept."""

    rule: Rule
    threshold: Real | None
    """The bar, where it is the same on all tokens."""
    contexts: int
    tokens: int
    """How many were looked at."""
    fires: int
    """On how many of them it fires."""
    typical_gap: Real | None
    """By how much it misses on a silent token, median."""
    spread: Real
    """Standard deviation of the pre-activation."""
    misses: list[Miss]
    """The nearest first."""


class ShownMiss(View):
    """A place where it almost fires, with the text around it."""

    pre_activation: Real
    bar: Real
    example: Example


class ShownMisses(View):
    missed: Missed
    misses: list[ShownMiss]
    measured_at: datetime
    asked_by: str


def known(dictionary: Dictionary, feature: int) -> ShownMisses | None:
    """What was found before; None: nothing, or nothing that can be read."""
    try:
        found = dictionary.notebook.read(
            lambda notes: notes.results.get(feature, KIND, _conditions(dictionary, feature)), None
        )
        return _shown(dictionary, feature, found) if found else None
    except (LexiscopeError, ValidationError):
        return None


def measure(dictionary: Dictionary, feature: Feature, author: str) -> ShownMisses:
    """Look for near-misses and write them down.

    Raises:
        NoNearMissesError: there can be none; the message says why.
        InputError: the model or the SAE is not there.
    """
    if feature.dead:
        raise NoNearMissesError("this feature never fired, so it has no tokens of its own to look at")
    text = dictionary.index.text
    rows = _places(dictionary, feature)
    if not rows:
        raise NoNearMissesError("this feature fires wherever it was looked for, so there is no place where it misses")
    windows = []
    for window in windows_at(text.tokens_T, text.context_starts(), rows, before=None, after=_AFTER):
        cut = max(0, window.focus - _BEFORE)
        windows.append(Window(window.tokens[cut:], window.focus - cut))
    found = dictionary.reader.near_misses(feature.feature, windows)
    firing, _ = dictionary.index.firings(feature.feature)
    firsts = [row - window.focus for row, window in zip(rows, windows, strict=True)]
    missed = Missed(
        **found.model_dump(exclude={"nearest"}),
        contexts=len(windows),
        misses=list(_different(found, firsts, text.tokens_T, set(firing.tolist()))),
    )
    written: list[Result] = []

    def keep(notes: Notes) -> None:
        conditions = _conditions(dictionary, feature.feature)
        written.append(notes.results.put(feature.feature, KIND, conditions, missed, by(author)))

    dictionary.notebook.write(keep)
    return _shown(dictionary, feature.feature, written[0])


def _places(dictionary: Dictionary, feature: Feature) -> list[int]:
    """Rows where it is silent: on its own tokens, and anywhere. The same whenever it is asked."""
    tokens_T = dictionary.index.text.tokens_T
    firing, _ = dictionary.index.firings(feature.feature)
    random = np.random.default_rng(derive_seed(0, KIND, feature.feature))
    begin = int(random.integers(max(1, len(tokens_T) - _ROWS_SEARCHED + 1)))
    own = [token.token for token in feature.frequent_tokens[:_OWN_TOKENS]]
    same = np.flatnonzero(np.isin(tokens_T[begin : begin + _ROWS_SEARCHED], own)) + begin
    chosen = []
    for rows in (same, random.integers(len(tokens_T), size=8 * _PLACES)):
        silent = np.setdiff1d(rows, firing)
        chosen += random.choice(silent, min(_PLACES, len(silent)), replace=False).tolist()
    return sorted(set(chosen))


def _different(
    found: NearMisses, firsts: list[int], tokens_T: np.ndarray[tuple[int], np.dtype[np.int32]], firing: set[int]
) -> Iterator[Miss]:
    """The nearest, no text twice and few of one context; none where the index says that it fires."""
    seen: set[bytes] = set()
    of_context: dict[int, int] = {}
    for one in found.nearest:
        row = firsts[one.window] + one.token
        around = tokens_T[max(row - _SAME_BEFORE, 0) : row + _SAME_AFTER + 1].tobytes()
        if row in firing or around in seen or of_context.get(one.window, 0) == _PER_CONTEXT:
            continue
        seen.add(around)
        of_context[one.window] = of_context.get(one.window, 0) + 1
        yield Miss(row=row, pre_activation=one.pre_activation, bar=one.bar)
        if len(seen) == _SHOWN:
            return


def _conditions(dictionary: Dictionary, feature: int) -> str:
    """Hash of everything that the result depends on."""
    artifact = dictionary.artifact
    said = {
        "index": artifact.fingerprint,
        "model": artifact.manifest["sources"].get("model", {}).get("fingerprint"),
        "feature": feature,
        "before": _BEFORE,
        "after": _AFTER,
        "places": _PLACES,
        "version": 1,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _shown(dictionary: Dictionary, feature: int, result: Result) -> ShownMisses:
    missed = Missed.model_validate(result.payload)
    examples = dictionary.index.around(feature, [miss.row for miss in missed.misses])
    return ShownMisses(
        missed=missed,
        misses=[
            ShownMiss(pre_activation=miss.pre_activation, bar=miss.bar, example=example)
            for miss, example in zip(missed.misses, examples, strict=True)
        ],
        measured_at=result.created_at,
        asked_by=result.by.author,
    )
