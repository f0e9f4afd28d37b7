"""What was tested of a feature, through the app. Oracles: `confirm` on the same pairs, the notes opened by themselves,
and findings that were made up.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from index_world import Dictionary, Model
from starlette.testclient import TestClient
from tests.steer.made_findings import PAIRS, confirmation, dose_response

from lexiscope.core.artifact import open_artifact
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.notes import By, Notes
from lexiscope.steer.confirming.confirm import confirm
from lexiscope.steer.confirming.pairs import Pair
from lexiscope.steer.experiments import findings
from lexiscope.web.app import create_app
from lexiscope.web.security.access import Access

from .tested_world import FEATURE, pairs

BASE = "http://127.0.0.1:8765"
PAGE = f"/d/demo/features/{FEATURE}"


@pytest.fixture
def own(root, tmp_path):
    """A copy of the run to write beside."""
    return shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))


@pytest.fixture
def client(own, world):
    return client_of(own, world)


@pytest.fixture
def given(world):
    return pairs(world)


def client_of(own, world, **access):
    app = create_app(own, access=Access.at(port=8765, **access))
    app.state.library.dictionary("demo").reader.__dict__["_parts"] = (Model(world), Dictionary())
    return TestClient(app, base_url=BASE)


def ask(client, given, **other):
    return client.post(f"{PAGE}/confirmation.json", json={"hypothesis": "opens a bracket", "pairs": given, **other})


def keep(own, *found, by="ana", asked=None):
    """Put results into the notes as a command does."""
    index = open_artifact(own / "demo" / "index", "index")
    with Notes.open(own / "demo" / "index") as notes:
        for one in found:
            if hasattr(one, "hypothesis"):
                findings.keep_confirmation(notes, index, one, PAIRS, By(author=by))
            else:
                findings.keep_dose_response(notes, index, one, asked or {}, By(author=by))


def section(client):
    """The part of the page, its white space as a reader sees it."""
    return re.sub(r"\s+", " ", client.get(PAGE).text.split('id="tested"')[1])


def test_patching_is_what_the_function_says_and_is_kept(client, own, world, given):
    found = ask(client, given, author="ana").json()
    live = torch.tensor(FeatureIndex.open(own / "demo" / "index").live_L, dtype=torch.int64)
    expected = confirm(
        Model(world), Dictionary(), FEATURE, [Pair(**one) for one in given], hypothesis="opens a bracket", others=live
    )
    assert expected.differ == len(given)
    assert found["confirmation"] == expected.model_dump(mode="json")
    assert (found["pairs"], found["found_by"]) == (given, "ana")
    with Notes.open(own / "demo" / "index", readonly=True) as notes:
        [kept] = findings.of(notes, FEATURE).confirmations
    assert kept.confirmation == expected
    assert client.get(f"{PAGE}.json").json()["tested"]["confirmations"] == [found]
    page = section(client)
    assert expected.verdict.capitalize() in page
    assert "opens a bracket" in page
    assert "Patched by ana" in page
    assert ask(client, given).json()["result"] != found["result"]
    assert len(client.get(f"{PAGE}.json").json()["tested"]["confirmations"]) == 1  # the same question


def test_the_page_tells_both_kinds_apart(client, own):
    asked = {"goal": "token 3", "corpus": "demo", "seed": 3, "strengths": [1.0]}
    keep(own, confirmation(FEATURE), dose_response(FEATURE, strengths=(-1.0, 0.5, 2.0)), by="ben", asked=asked)
    page = client.get(PAGE).text
    assert "Patching: cause" in page
    assert "Steering: works" in page
    said = section(client)
    shown = (
        "50 % (30 % to 70 %)",
        "Measured by ben",
        "recommended 2",
        "limit 5",
        "corpus demo · seed 3<",
        "prompt only",
        "a woman&#39;s name",
    )
    for words in shown:
        assert words in said
    [link] = re.findall(r'href="(/d/demo/steer[^"]*)"', said)
    most = client.get(f"{PAGE}.json").json()["feature"]["max_activation"]
    assert link == f"/d/demo/steer?turn=add%3A{FEATURE}%3A{2.0 * 4.0 / most:.4f}".rstrip("0").rstrip(".") + "max"
    assert client.get(link).status_code == 200
    steered = client.get(link.replace("steer?", "steer.json?")).json()
    assert [turned["feature"]["feature"] for turned in steered["turned"]] == [FEATURE]
    assert steered["problems"] == []


def test_many_pairs_are_not_all_shown(client, own):
    """A command has no limit; the page says where the others are."""
    index = open_artifact(own / "demo" / "index", "index")
    many = [pair.model_copy(update={"prompt": f"{number} {pair.prompt}"}) for number in range(9) for pair in PAIRS]
    with Notes.open(own / "demo" / "index") as notes:
        made = confirmation(FEATURE).model_copy(update={"pairs": len(many)})
        findings.keep_confirmation(notes, index, made, many, By(author="ana"))
    page = section(client)
    assert page.count("<td><bdi") == 2 * 64
    assert "The other 8 are in this page's JSON" in page
    assert len(client.get(f"{PAGE}.json").json()["tested"]["confirmations"][0]["pairs"]) == 72


def test_nothing_recommended_is_no_link(client, own):
    made = dose_response(FEATURE).model_copy(update={"recommended": None, "judged": None, "outcome": "no effect"})
    keep(own, made)
    assert "Steering: no effect" in client.get(PAGE).text
    assert "/steer?turn=add" not in section(client)
    assert "recommended" not in section(client)


def test_a_sweep_without_doses_is_words(client, own):
    """As somebody else's notes may have it."""
    keep(own, dose_response(FEATURE).model_copy(update={"curve": [], "judged": None, "recommended": None}))
    assert client.get(PAGE).status_code == 200
    assert "It works." in section(client)
    assert "<figure>" not in section(client)


@pytest.mark.parametrize("strengths", [(1.0,), (0.5, 1.0), (-1.0, -0.5, 0.25)])
def test_few_doses_are_drawn(client, own, strengths):
    keep(own, dose_response(FEATURE, strengths=strengths))
    for figure in re.findall(r"<svg class=\"plot curves\".*?</svg>", client.get(PAGE).text, re.DOTALL):
        assert "nan" not in figure
        assert "inf" not in figure


def test_newest_first_and_what_cannot_be_read_is_counted(client, own):
    keep(own, confirmation(FEATURE, hypothesis="first"), confirmation(FEATURE, hypothesis="second"))
    with Notes.open(own / "demo" / "index") as notes:
        notes.results.put(FEATURE, findings.DOSES, "x", {"dose_response": "of another version"}, By(author="ana"))
    page = section(client)
    assert page.index("second") < page.index("first")
    assert "1 result of another version can't be shown" in page


def test_an_untested_feature_says_how(client, own, world):
    page = section(client)
    for words in ("lexiscope effects confirm RUN 4 PAIRS", "lexiscope effects dose RUN 4", "confirmation.json"):
        assert words in page
    said = section(client_of(own, world, read_only=True))
    assert "lexiscope effects confirm" in said
    assert "confirmation.json" not in said
    assert list(own.rglob("*.sqlite*")) == []


def test_the_example_of_the_form_is_made_of_pairs(client):
    import html

    lines = html.unescape(re.findall(r"<textarea[^>]*name=\"pairs\"[^>]*>(.*?)</textarea>", section(client))[0])
    found = [json.loads(line) for line in re.findall(r"{.*?}", lines)]
    assert len(found) == 2
    assert all(Pair.model_validate(one) for one in found)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda sent: sent["pairs"][3:], "7 pairs; give between 8 and 64"),
        (lambda sent: sent["pairs"] * 7, "70 pairs; give between 8 and 64"),
        (lambda sent: [{**one, "other_answer": one["answer"]} for one in sent["pairs"]], "begin with the same token"),
        (lambda sent: [{**one, "answer": one["other_answer"], "other_answer": one["answer"]} for one in sent["pairs"]],
         "give pairs that it tells apart"),
        (lambda sent: [{**one, "prompt": ""} for one in sent["pairs"]], "pairs.0.prompt"),
        (lambda sent: [{**one, "more": "x"} for one in sent["pairs"]], "pairs.0.more"),
        (lambda sent: [{**one, "prompt": "x (" * 999} for one in sent["pairs"]], "at most 500"),
        (lambda sent: ["not a pair"] * 8, "pairs.0"),
        (lambda sent: "pairs", "pairs"),
    ],
)  # fmt: skip
def test_bad_pairs_are_refused_in_one_sentence(client, own, given, change, sentence):
    answer = ask(client, change({"pairs": given}))
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert list(own.rglob("*.sqlite*")) == []


@pytest.mark.parametrize("other", [{"hypothesis": ""}, {"hypothesis": "a\0b"}, {"hypothesis": "x" * 501}, {"seed": 1}])
def test_what_is_no_question_is_refused(client, given, other):
    assert ask(client, given, **other).status_code == 422


def test_there_must_be_such_a_feature_and_a_right_to_write(client, own, world, given):
    body = {"hypothesis": "h", "pairs": given}
    assert client.post("/d/demo/features/99/confirmation.json", json=body).status_code == 404
    assert client.post("/d/nowhere/features/4/confirmation.json", json=body).status_code == 404
    assert ask(client_of(own, world, read_only=True), given).status_code == 403
    assert list(own.rglob("*.sqlite*")) == []


def test_damaged_notes_leave_the_feature_readable(client, own):
    keep(own, confirmation(FEATURE))
    for file in (own / "demo").glob("*.sqlite*"):
        file.unlink()
    (own / "demo" / "index.notes.sqlite").write_bytes(b"no database at all" * 100)
    page = client.get(PAGE)
    assert page.status_code == 200
    assert "can't be shown" in page.text
    assert 'id="confirm"' not in page.text
