"""Findings as they would be measured, made up: every field is there, with numbers that are not round."""

from __future__ import annotations

from pathlib import Path

from lexiscope.core.artifact import Artifact
from lexiscope.index.live.changes import Mean
from lexiscope.steer.confirming.confirm import Confirmation, Direction, Moved
from lexiscope.steer.confirming.pairs import Pair
from lexiscope.steer.effects.dose import STRENGTHS
from lexiscope.steer.effects.doses import Dose, DoseResponse, Untouched
from lexiscope.steer.effects.fluency import Fluency
from lexiscope.steer.effects.intervals import wilson
from lexiscope.steer.effects.probes import ProbeScore
from lexiscope.steer.effects.side_effects import Rise, SideEffects
from lexiscope.steer.effects.trial import ControlPoint, Point

PAIRS = [
    Pair(prompt=f"{name} is", answer=" her", other_prompt=f"{other} is", other_answer=" him")
    for name, other in zip("ABCDEFGH", "STUVWXYZ", strict=True)
]


def index(fingerprint="i" * 64, model="m" * 64):
    return Artifact(Path("index"), {"fingerprint": fingerprint, "sources": {"model": {"fingerprint": model}}})


def confirmation(feature=7, share=0.5, hypothesis="a woman's name"):
    moved = Moved(logits=1.0, logits_low=0.5, logits_high=1.5, share=share, share_low=0.3, share_high=0.7)
    way = Direction(feature=moved, other_feature=moved, direction=moved, beyond=moved)
    return Confirmation(
        feature=feature, hypothesis=hypothesis, pairs=len(PAIRS), differ=8, by_position=True, clean=1.0,
        clean_other=-1.0, put_in=way, taken_out=way, verdict="cause", said="It does.",
    )  # fmt: skip


def dose_response(feature=7, strengths=STRENGTHS, goal="token 3"):
    """As full as it gets: every control, probe and measure at every strength."""
    mean, rise = Mean(mean=1 / 3, low=-1 / 7, high=2 / 3, examples=48), Rise(rise=1 / 30, low=1 / 70, high=1 / 20)
    fluency = Fluency(perplexity=100 / 3, distinct=[1 / 3, 2 / 3, 1.0], met=mean)
    probes = [ProbeScore(task=task, accuracy=wilson(40, 48)) for task in ("agreement", "indirect object")]
    names = ("noise", "wrong sign", "random feature", "difference in means", "difference in means at its best",
             "prompt only")  # fmt: skip
    controls = [
        ControlPoint(control=name, norm=1 / 3, effect=mean, moved=wilson(30, 48), perplexity=rise, advantage=mean)
        for name in names
    ]
    points = [
        Point(strength=strength, norm=1 / 3, effect=mean, moved=wilson(30, 48), perplexity=rise)
        for strength in strengths
    ]
    curve = [
        Dose(**dict(point), side_effects=SideEffects(kl=mean, perplexity=rise, features_moved=mean), fluency=fluency,
             probes=probes, controls=controls)
        for point in points
    ]  # fmt: skip
    return DoseResponse(
        feature=feature, goal=goal, unit=4.0, limit=0.05,
        untouched=Untouched(goal=mean, fluency=fluency, probes=probes), chosen_on=points, recommended=strengths[-1],
        judged=curve[-1], curve=curve, outcome="works", verdict="It works.",
    )  # fmt: skip
