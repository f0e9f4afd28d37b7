"""What experiments found, kept in the notes. Oracle: what was put in, read back by another connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError
from lexiscope.index.live.changes import Mean
from lexiscope.index.notes import By, Dictionary, Notes
from lexiscope.steer.effects import findings
from lexiscope.steer.effects.confirm import Confirmation, Direction, Moved
from lexiscope.steer.effects.dose import STRENGTHS, Dose, DoseResponse, Untouched
from lexiscope.steer.effects.fluency import Fluency
from lexiscope.steer.effects.intervals import wilson
from lexiscope.steer.effects.pairs import Pair
from lexiscope.steer.effects.probes import ProbeScore
from lexiscope.steer.effects.side_effects import Rise, SideEffects
from lexiscope.steer.effects.trial import ControlPoint, Point

SAE = Dictionary("f" * 64, 1000)
ANA, BEN = By(author="ana"), By(author="ben")
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


@pytest.fixture
def notes(tmp_path):
    with Notes(tmp_path / "index.notes.sqlite", SAE) as opened:
        yield opened


def test_nothing_was_found_about_a_feature_at_first(notes):
    assert findings.of(notes, 7) == findings.NOTHING


def test_what_was_kept_is_read_back(notes, tmp_path):
    findings.keep_confirmation(notes, index(), confirmation(), PAIRS, ANA, seed=3)
    findings.keep_dose_response(notes, index(), dose_response(), {"goal": {"3": 1.0}, "seed": 0}, BEN)
    findings.keep_confirmation(notes, index(), confirmation(8), PAIRS, ANA)
    with Notes(tmp_path / "index.notes.sqlite", SAE, readonly=True) as again:
        found = findings.of(again, 7)
    [confirmed], [dosed] = found.confirmations, found.dose_responses
    assert (confirmed.confirmation, confirmed.pairs, confirmed.seed) == (confirmation(), PAIRS, 3)
    assert (dosed.dose_response, dosed.asked) == (dose_response(), {"goal": {"3": 1.0}, "seed": 0})
    assert (confirmed.found_by, dosed.found_by, found.unreadable) == ("ana", "ben", 0)
    assert dosed.found_at > confirmed.found_at


def test_the_same_question_has_one_answer(notes):
    """The newest of it; another hypothesis, pair, seed, index or model is another question."""

    def keep(share, *, on=None, hypothesis="a woman's name", pairs=PAIRS, seed=0):
        made = confirmation(share=share, hypothesis=hypothesis)
        findings.keep_confirmation(notes, on or index(), made, pairs, ANA, seed=seed)
        return [one.confirmation.put_in.feature.share for one in findings.of(notes, 7).confirmations]

    assert keep(0.1) == [0.1]
    assert keep(0.2) == [0.2]
    assert keep(0.3, hypothesis="a name") == [0.3, 0.2]
    assert keep(0.4, seed=1) == [0.4, 0.3, 0.2]
    assert keep(0.5, on=index(fingerprint="j" * 64)) == [0.5, 0.4, 0.3, 0.2]
    assert keep(0.6, on=index(model="n" * 64)) == [0.6, 0.5, 0.4, 0.3, 0.2]
    assert keep(0.7, pairs=PAIRS[::-1]) == [0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert keep(0.8) == [0.8, 0.7, 0.6, 0.5, 0.4, 0.3]


def test_doses_are_told_apart_by_what_was_asked(notes):
    for seed in (0, 1, 0):
        findings.keep_dose_response(notes, index(), dose_response(), {"seed": seed}, ANA)
    assert [one.asked for one in findings.of(notes, 7).dose_responses] == [{"seed": 0}, {"seed": 1}]


def test_what_cannot_be_read_is_counted(notes):
    findings.keep_confirmation(notes, index(), confirmation(), PAIRS, ANA)
    for number, payload in enumerate(({"confirmation": 1}, "words", None, [1])):
        notes.results.put(7, findings.PATCHING, f"other {number}", payload, ANA)
    notes.results.put(7, findings.DOSES, "other", {"dose_response": confirmation().model_dump()}, ANA)
    notes.results.put(7, "ablation", "other", {"examples": []}, ANA)
    found = findings.of(notes, 7)
    assert (len(found.confirmations), len(found.dose_responses), found.unreadable) == (1, 0, 5)


def test_a_long_curve_fits(notes):
    """A hundred strengths with everything that can be measured at each."""
    strengths = [number / 8 for number in range(1, 101)]
    kept = findings.keep_dose_response(notes, index(), dose_response(strengths=strengths), {}, ANA)
    assert findings.read(kept).dose_response.curve[-1].strength == strengths[-1]


def test_pairs_must_be_those_that_were_patched(notes):
    with pytest.raises(InputError, match="8 pairs were patched and 7 are given; keep those that were patched"):
        findings.keep_confirmation(notes, index(), confirmation(), PAIRS[1:], ANA)


def test_a_feature_that_is_not_there(notes):
    with pytest.raises(InputError, match="no feature 1000"):
        findings.keep_confirmation(notes, index(), confirmation(1000), PAIRS, ANA)
