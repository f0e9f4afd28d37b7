"""Confirming a feature in Chromium, by keyboard. Oracle: what a reader sees, and the browser's own log of errors.

Screenshots go to the folder in LEXISCOPE_SCREENSHOTS, or to pytest's temporary one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tests.steer.made_findings import confirmation, dose_response

from lexiscope.core.artifact import open_artifact
from lexiscope.index.notes import By, Notes
from lexiscope.steer.confirming.pairs import Pair
from lexiscope.steer.experiments import findings

from .serving import running
from .tested_world import FEATURE, pairs
from .watching import fits, watch

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PAGE = f"/d/demo/features/{FEATURE}"


@pytest.fixture
def own(root, tmp_path):
    """A copy of the run to write beside."""
    return shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))


@pytest.fixture
def address(own, give_model):
    with running(own, give_model) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def shoot(tmp_path):
    folder = Path(os.environ.get("LEXISCOPE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=folder / f"{name}.png")


def lines(given):
    return "\n".join(json.dumps(one) for one in given)


def test_a_feature_is_confirmed_by_keyboard(browser, address, world, shoot):
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    page = context.new_page()
    problems = watch(page, address)
    page.goto(address + PAGE)
    playwright.expect(page.locator(".verdicts")).to_have_text("Not tested as a cause")
    page.keyboard.press("c")
    playwright.expect(page.get_by_label("What it is said to stand for")).to_be_focused()
    page.keyboard.type("opens a bracket")
    page.keyboard.press("Tab")
    playwright.expect(page.locator("#pairs")).to_be_focused()
    assert "8 to 64 pairs" in page.locator("#pairs-note").inner_text()
    said = page.locator("#confirm output")

    page.keyboard.press("Control+Enter")  # the example alone is too little
    playwright.expect(said).to_contain_text("there are 2 pairs; give between 8 and 64")
    playwright.expect(page.get_by_role("button", name="Patch it")).to_be_enabled()
    for wrong, sentence in (
        ("{", "Line 3 is no JSON object"),
        ("[1]", "Line 3 is no JSON object"),
        ('{"prompt": "a", "answer": "b", "other_prompt": "c"}', "Line 3 has no other_answer"),
        ('{"prompt": "a", "answer": "b", "other_prompt": "c", "other_answer": 1}', "Line 3 has no other_answer"),
    ):
        page.locator("#pairs").fill(lines(pairs(world)[:1]) + "\n\n" + wrong)
        page.keyboard.press("Control+Enter")
        playwright.expect(said).to_contain_text(sentence)
    assert page.locator("#hypothesis").input_value() == "opens a bracket"  # nothing that was typed is lost
    shoot(page, "confirm-refused")
    problems[:] = [problem for problem in problems if "422" not in problem]  # the browser logs the refusal itself

    page.locator("#pairs").fill(lines(pairs(world)))
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".confirmation")
    assert page.get_by_role("article", name="opens a bracket").count() == 1
    assert page.locator(".shares caption").all_inner_texts() == [
        "Put in where it was missing",
        "Taken away where it was there",
    ]
    page.get_by_text("The 10 pairs").click()
    playwright.expect(page.locator(".pairs-table tbody tr")).to_have_count(10)
    page.locator(".verdicts a", has_text="Patching:").click()
    page.wait_for_url("**#tested")
    shoot(page, "confirmed")
    page.goto(f"{address}/d/demo/features/5")  # another one on the same pairs
    assert page.locator("#hypothesis").input_value() == "opens a bracket"
    assert page.locator("#pairs").input_value() == lines(pairs(world))
    assert problems == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 420])
def test_findings_fit_the_window(browser, address, own, shoot, scheme, width):
    index = open_artifact(own / "demo" / "index", "index")
    given = [Pair(prompt="x" * 900, answer=" a", other_prompt="y" * 900, other_answer=" b")] * 8
    with Notes.open(own / "demo" / "index") as notes:
        made = confirmation(FEATURE, hypothesis="unbroken" * 60)
        findings.keep_confirmation(notes, index, made, given, By(author="ana"))
        findings.keep_dose_response(notes, index, dose_response(FEATURE, goal="z" * 300), {}, By(author="a" * 200))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    problems = watch(page, address)
    page.goto(f"{address}{PAGE}#tested")
    for summary in page.locator("#tested summary").all():
        summary.click()
    page.wait_for_load_state("networkidle")
    shoot(page, f"tested-{scheme}-{width}")
    assert fits(page)
    for figure in page.get_by_role("img", name="against strength").all():
        assert figure.bounding_box()["height"] > 100
    assert page.locator(".curve.own circle title").count() >= 16
    assert problems == []
    context.close()
