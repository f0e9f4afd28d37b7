"""Siblings: this SAE among others at the same place of the same model, by how many features fire and what is lost."""

from __future__ import annotations

from collections.abc import Iterable

from lexiscope.measure.scorecard import SAE, Scorecard
from lexiscope.web.view import View


class Trade(View):
    """A dictionary: how much it explains with how many features."""

    name: str
    kind: str
    """own: the one that is shown; sibling: another SAE; trivial: what a trivial dictionary gets."""
    l0: float
    """Features that fire on a token, on average."""
    fvu: float
    """Share of the variance left unexplained."""


_TRIVIAL = ("pca", "random_dictionary", "untrained")
_MOST = 24


def trades(own: Scorecard, others: Iterable[tuple[str, Scorecard]]) -> list[Trade]:
    """The points of a Pareto plot, the own first.

    Args:
        others: names and scorecards of whatever else is there; those of other places and models are left out.
    """
    found = [*_trade("this SAE", "own", own, SAE)]
    for name, scorecard in others:
        if (scorecard.model, scorecard.hook) == (own.model, own.hook):
            found += _trade(name, "sibling", scorecard, SAE)
    for column in _TRIVIAL:
        if column in own.columns:
            found += _trade(column, "trivial", own, column)
    return found[:_MOST]


def _trade(name: str, kind: str, scorecard: Scorecard, column: str) -> list[Trade]:
    l0, fvu = scorecard.value("l0", column), scorecard.value("fvu", column)
    return [] if l0 is None or fvu is None else [Trade(name=name, kind=kind, l0=l0, fvu=fvu)]
