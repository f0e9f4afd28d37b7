"""Stability: whether other dictionaries of the same place found a feature, too, by its closest decoder direction there.

Beside each cosine stands what a direction with the same coordinates in other orders gets, which has no meaning and is
as long and as spread out: with a million directions to choose from, something is always rather close. A dictionary with
the same settings and another seed is the proper comparison; others say how far a feature depends on the settings.
F features of another dictionary, D width, S shuffles.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import LexiscopeError
from lexiscope.index.directions.chance import shuffled
from lexiscope.index.directions.effects import map_directions
from lexiscope.index.feature import Real
from lexiscope.web.folder.library import Dictionary, Sibling
from lexiscope.web.matching import closest
from lexiscope.web.view import View

MOST_AT_ONCE = 1 << 27
"""Numbers of other dictionaries that are read without being asked for: half a gigabyte, a second or so."""
DAMAGE = (LexiscopeError, OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)
"""What comes of weights that are not as their manifest says."""
_ROWS = 1 << 16
_MOST_KEPT = 4096
_MOST_OPENED = 1 << 17
"""Features of a dictionary that is opened only to say what the found feature fires on."""


class Closest(View):
    """The feature of another dictionary that points most nearly the same way."""

    name: str
    """Of the other dictionary, as its folder."""
    dictionary: str | None
    """In addresses; None where it was not indexed."""
    same_settings: bool
    """It differs by its seed alone."""
    num_features: int
    feature: int
    cosine: Real
    by_chance: Real
    """Mean cosine of shuffled directions with their closest."""
    by_chance_high: Real
    """95 % of them have none closer."""
    tokens: list[str]
    """That the other feature fires on most often; empty where nobody knows."""


class _Found(NamedTuple):
    feature: int
    cosine: float
    by_chance: float
    by_chance_high: float


class _Kept:
    """What was found before, the latest few thousand."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, int, str], _Found] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, int, str]) -> _Found | None:
        return self._found.get(key)

    def put(self, key: tuple[str, int, str], found: _Found) -> None:
        with self._lock:
            self._found[key] = found
            while len(self._found) > _MOST_KEPT:
                self._found.popitem(last=False)


_KEPT = _Kept()


def stability(
    own: Dictionary, feature: int, direction_D: Tensor, siblings: Sequence[Sibling], *, most: int | None = MOST_AT_ONCE
) -> tuple[list[Closest], list[str]]:
    """Its closest in each of the siblings, and the names of those that were too large to read, or can't be read.

    Args:
        most: numbers that may be read; None: any.
    """
    found, left = [], []
    for sibling in siblings:
        key = (own.artifact.fingerprint, feature, sibling.artifact.fingerprint)
        known = _KEPT.get(key)
        if known is None:
            size = sibling.num_features * len(direction_D)
            if most is not None and size > most:
                left.append(sibling.name)
                continue
            most = None if most is None else most - size
            try:
                known = _search(direction_D, sibling.artifact, sibling.num_features)
            except DAMAGE:
                left.append(sibling.name)
                continue
            _KEPT.put(key, known)
        found.append(
            Closest(
                name=sibling.name,
                dictionary=sibling.dictionary.name if sibling.dictionary else None,
                same_settings=sibling.same_settings,
                num_features=sibling.num_features,
                tokens=_tokens(sibling.dictionary, known.feature),
                **known._asdict(),
            )
        )
    return found, left


def _search(direction_D: Tensor, sae: Artifact, num_features: int) -> _Found:
    queries_SD = torch.cat([direction_D[None], shuffled(direction_D)])
    best_S, place_S = torch.full((len(queries_SD),), -2.0), torch.zeros(len(queries_SD), dtype=torch.long)
    for start in range(0, num_features, _ROWS):  # mapped anew each time, so that memory holds one part of the file
        part_ND = map_directions(sae)[start : start + _ROWS].float()
        cosine_S, nearest_S = closest(queries_SD, part_ND)
        better_S = cosine_S > best_S
        best_S[better_S], place_S[better_S] = cosine_S[better_S], nearest_S[better_S] + start
    chance_S = best_S[1:]
    return _Found(int(place_S[0]), float(best_S[0]), float(chance_S.mean()), float(chance_S.quantile(0.95)))


def _tokens(dictionary: Dictionary | None, feature: int) -> list[str]:
    if dictionary is None:
        return []
    if "index" not in dictionary.__dict__ and dictionary.artifact.config["num_latents"] > _MOST_OPENED:
        return []
    try:
        return dictionary.index.summaries([feature])[feature].tokens
    except LexiscopeError:
        return []
