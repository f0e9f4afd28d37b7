"""What experiments found, kept in the notes. Oracle: what was put in, read back by another connection."""

from __future__ import annotations

import pytest
from tests.steer.made_findings import PAIRS, confirmation, dose_response, index

from lexiscope.core.errors import InputError
from lexiscope.index.notes import By, Dictionary, Notes
from lexiscope.steer.experiments import findings

SAE = Dictionary("f" * 64, 1000)
ANA, BEN = By(author="ana"), By(author="ben")


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


def test_numbers_without_end_are_no_finding(notes, tmp_path):
    """As a file of somebody else's may have them."""
    findings.keep_confirmation(notes, index(), confirmation(), PAIRS, ANA)
    with notes.database.write() as tx:
        tx.execute("UPDATE results SET payload = replace(payload, '\"clean\": 1.0', '\"clean\": 1e999')")
    found = findings.of(notes, 7)
    assert (found.confirmations, found.unreadable) == ([], 1)


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


def test_findings_go_where_the_notes_go(notes, tmp_path):
    """Oracle: the notes they came from."""
    findings.keep_confirmation(notes, index(), confirmation(), PAIRS, ANA)
    findings.keep_dose_response(notes, index(), dose_response(), {"seed": 0}, BEN)
    with Notes(tmp_path / "other.notes.sqlite", SAE) as other:
        other.exchange.read_json_lines(list(notes.exchange.json_lines()))
        found, there = findings.of(other, 7), findings.of(notes, 7)
    assert [one.confirmation for one in found.confirmations] == [one.confirmation for one in there.confirmations]
    assert [one.dose_response for one in found.dose_responses] == [one.dose_response for one in there.dose_responses]
    assert (found.confirmations[0].found_by, found.unreadable) == ("ana", 0)
