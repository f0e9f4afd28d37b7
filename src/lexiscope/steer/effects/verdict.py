"""Verdict: what to think of a feature and its dose, in a word and in a sentence."""

from __future__ import annotations

from lexiscope.index.live.changes import Mean
from lexiscope.steer.effects.doses import Dose, Outcome
from lexiscope.steer.effects.intervals import Share
from lexiscope.steer.effects.trial import Recommendation


def conclude(
    feature: int, goal: str, found: Recommendation, judged: Dose | None, limit: float, beaten: Share | None = None
) -> tuple[Outcome, str]:
    """What to think of a feature, from what it was chosen by and what it did on held-out text.

    Args:
        beaten: other features of the same length that do less; None: none was tried.
    """
    if judged is None:
        positive = [point for point in found.points if point.strength > 0]
        if any((point.effect.low or 0) > 0 for point in positive):
            return "breaks the text", (
                f"On text for choosing, feature {feature} surely raises {goal} only at doses that may cost more than "
                f"{limit:.0%} of perplexity."
            )
        return "no effect", (
            f"On text for choosing, feature {feature} does not surely raise {goal} at any dose that was tried."
        )
    what = (
        f"Feature {feature} at {judged.strength:.2g} of its maximum raises {goal} on {_percent(judged.moved)} of "
        f"{judged.moved.of} held-out prompts, by {_effect(judged.effect)} on average, for {judged.perplexity.rise:.1%} "
        "more perplexity off-target"
    )
    if (judged.effect.low or 0) <= 0:
        return "no effect", f"{what}: on held-out text that is no clear effect."
    if judged.perplexity.rise > limit:
        return "costs too much", f"{what}, more than the {limit:.0%} that it was chosen for."
    rivals = [beside for beside in judged.controls if (beside.advantage.low or 0) <= 0]
    if rivals:
        named = " or ".join(beside.control for beside in rivals)
        return "no better than a control", f"{what}: it works, but no better than {named}."
    if beaten is not None and beaten.count < beaten.of:
        return "no better than a control", (
            f"{what}: it works, but so do {beaten.of - beaten.count} of {beaten.of} other features of that length."
        )
    if not judged.controls:
        return "works", f"{what}; nothing was compared."
    others = "" if beaten is None else f"; and than each of {beaten.of} other features of that length"
    named = ", ".join(beside.control for beside in judged.controls)
    return "works", f"{what}, more than each control: {named}{others}."


def _effect(effect: Mean) -> str:
    ends = "" if effect.low is None or effect.high is None else f" ({effect.low:.2g} to {effect.high:.2g})"
    return f"{effect.mean:.2g}{ends}"


def _percent(share: Share) -> str:
    return f"{share.share:.0%} ({share.low:.0%} to {share.high:.0%})"
