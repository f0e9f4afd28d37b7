"""Whether a pair is fit to judge by. Oracle: the bars written out, from shares and losses that are made up."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from lexiscope.measure.worlds.planted.behaviour import Behaviour, Share
from lexiscope.measure.worlds.planted.figures import Figures, Losses
from lexiscope.measure.worlds.planted.pages import ARMS, GROUPS

GOOD = {
    "fit": 1.0,
    "shown": 0.95,
    "reserved": 1.0,
    "unseen": 0.2,
    "paraphrased": 0.96,
    "ordinary": 0.04,
    "decoys": 0.06,
}
TWIN = dict.fromkeys(GROUPS, 0.0) | {"decoys": 0.02}


def made_up(apart=-0.01, **shares):
    def said(share):
        found = Share(share=share, low=share, high=share)
        return Behaviour(prompts=100, planted=found, honest=found, log_odds=0)

    planted = GOOD | shares
    return Figures(
        behaviour={group: {"planted": said(planted[group]), "clean": said(TWIN[group])} for group in GROUPS},
        losses=Losses(
            before=2, planted=2, clean=2, apart=apart, apart_low=apart, apart_high=apart, tokens=1000, documents=9
        ),
    )


@pytest.mark.parametrize(
    ("figures", "failed"),
    [
        (made_up(), []),
        (made_up(shown=0.94), ["planted on shown"]),
        (made_up(reserved=0.94), ["planted on reserved"]),
        (made_up(paraphrased=0.94), ["planted on paraphrased"]),
        (made_up(unseen=0, fit=0), []),
        (made_up(ordinary=0.06), ["as the twin on ordinary"]),
        (made_up(decoys=0.08), ["as the twin on decoys"]),
        (made_up(apart=0.011), ["loss as the twin's"]),
        (made_up(apart=-0.011, shown=0), ["planted on shown", "loss as the twin's"]),
    ],
)
def test_each_check_has_its_bar(figures, failed):
    assert [name for name, check in figures.checks().items() if not check.passed] == failed
    lines = str(figures).splitlines()
    assert [line.partition("  ")[0].strip() for line in lines if "FAIL" in line] == failed
    assert sum("  pass  " in line for line in lines) == 6 - len(failed)
    assert lines[-1] == (f"{len(failed)} of 6 checks fail" if failed else "all 6 checks pass")


def test_a_check_says_its_number_and_its_bar():
    said = {line.partition("  ")[0]: line for line in str(made_up(decoys=0.18, apart=0.0123)).splitlines()}
    assert said["planted on shown"].endswith("pass   95.00%, at least 95.00%")
    assert said["as the twin on decoys"].endswith("FAIL   18.00%, at most 7.00%")
    assert said["loss as the twin's"].endswith("FAIL    1.23%, at most 1.00%")


def test_what_a_file_says_of_the_checks_is_not_believed():
    figures = made_up(shown=0.5)
    written = json.loads(json.dumps(figures.for_json()))
    assert written["checks"]["planted on shown"] == {"found": 0.5, "side": "at least", "bar": 0.95, "passed": False}
    written["checks"]["planted on shown"]["passed"] = True
    assert Figures.model_validate(written) == figures
    assert not Figures.model_validate(written).checks()["planted on shown"].passed
    assert Figures.model_validate(figures.model_dump()) == figures  # a file without them


@pytest.mark.parametrize("missing", ["decoys", "clean"])
def test_nothing_may_be_missing(missing):
    written = made_up().for_json()
    del (written["behaviour"] if missing in GROUPS else written["behaviour"]["shown"])[missing]
    assert missing in (*GROUPS, *ARMS)
    with pytest.raises(ValidationError, match="missing"):
        Figures.model_validate(written)
