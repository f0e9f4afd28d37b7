"""Changing: what an address or a body asks for, as interventions of `lexiscope.steer`."""

from __future__ import annotations

from typing import NamedTuple

from lexiscope.steer.recipe import Recipe
from lexiscope.web.folder.library import Dictionary, Library
from lexiscope.web.steering.asked import Changes, read_where
from lexiscope.web.steering.kept import open_kept
from lexiscope.web.steering.turns import read_turns


class Change(NamedTuple):
    """What is done to features while a model writes."""

    recipe: Recipe
    features: frozenset[int]
    """Those that are named, also where what is asked for leaves them as they are."""


def read_change(library: Library, dictionary: Dictionary, asked: Changes) -> Change:
    """A kept edit, if one is named, and the features that are turned.

    Raises:
        InputError: it can't be read, no feature or edit is there of that name, or the edit can't be applied.
    """
    turns, where = read_turns(asked.turn), read_where(asked.on, asked.positions)
    for turn in turns:
        if turn.feature is not None:
            dictionary.index.check(turn.feature)
    known = open_kept(library, dictionary, asked.edit).recipe if asked.edit else Recipe(())
    given = (*known.edits, *(turn.intervention(where) for turn in turns if not turn.off))
    named = {feature for one in given for feature in one.features or ()}
    named |= {turn.feature for turn in turns if turn.feature is not None}
    return Change(Recipe(given, asked.error or known.error), frozenset(named))
