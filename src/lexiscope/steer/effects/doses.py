"""Doses: what was found of one, and of a sweep of them."""

from __future__ import annotations

from typing import Literal

from lexiscope.core.errors import InputError
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.changes import Mean
from lexiscope.steer.effects.fluency import Fluency
from lexiscope.steer.effects.intervals import Share
from lexiscope.steer.effects.probes import ProbeScore
from lexiscope.steer.effects.side_effects import SideEffects
from lexiscope.steer.effects.trial import ControlPoint, Point
from lexiscope.steer.interventions import Add

Outcome = Literal["works", "no better than a control", "costs too much", "no effect", "breaks the text"]


class Dose(Point):
    """One dose in full, on held-out text."""

    side_effects: SideEffects
    fluency: Fluency
    probes: list[ProbeScore]
    controls: list[ControlPoint]


class Untouched(Record):
    """The same when nothing is steered."""

    goal: Mean
    fluency: Fluency
    probes: list[ProbeScore]


class DoseResponse(Record):
    """A feature's doses, the one to use, and what to think of it."""

    feature: int
    goal: str
    unit: Real
    """The feature's largest activation: strength 1."""
    limit: Real
    """Rise of perplexity off-target that is allowed."""
    untouched: Untouched
    chosen_on: list[Point]
    """Selection text, by strength."""
    recommended: Real | None
    """Strength; None where no dose is both effective and within the limit."""
    judged: Dose | None
    """The recommended one, on held-out text."""
    curve: list[Dose]
    """Every strength that was asked for, on held-out text."""
    beaten: Share | None = None
    """Other features that raise the goal less at the length of the recommended dose, each on all held-out prompts."""
    outcome: Outcome
    verdict: str
    """In one sentence."""

    def intervention(self) -> Add:
        """The recommended dose, for `editing` and for recipes.

        Raises:
            InputError: none is recommended.
        """
        if self.recommended is None:
            raise InputError(f"no dose of feature {self.feature} is recommended: {self.verdict}")
        return Add(features=self.feature, by=self.recommended * self.unit)
