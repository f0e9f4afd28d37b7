"""The whole app in headless Chromium. Oracle: what a reader sees, and the browser's own log of requests and errors.

Screenshots go to the folder in LEXISCOPE_SCREENSHOTS, or to pytest's temporary one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lexiscope.web.exports.report import write_report

from .serving import running
from .watching import fits, watch

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def address(root, give_model):
    """The running app."""
    with running(root, give_model) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def watched(browser, address):
    """A page, and a list of everything that went wrong on it."""
    context = browser.new_context(viewport={"width": 1360, "height": 900}, color_scheme="light")
    page = context.new_page()
    yield page, watch(page, address)
    context.close()


@pytest.fixture
def shoot(tmp_path):
    folder = Path(os.environ.get("LEXISCOPE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=folder / f"{name}.png")


def test_from_the_shelf_to_a_feature_to_your_own_text(watched, address, shoot):
    page, problems = watched
    page.goto(address)
    page.get_by_role("link", name="demo").click()
    page.wait_for_url("**/d/demo")
    shoot(page, "dictionary")

    page.get_by_role("link", name=re.compile("^Density")).click()
    page.wait_for_url("**descending=true**")
    densities = [float(text.rstrip(" %")) for text in page.locator(".list tbody td:nth-child(5)").all_inner_texts()]
    assert densities == sorted(densities, reverse=True)
    page.get_by_role("link", name=re.compile("^Density")).click()
    page.wait_for_url("**descending=false**")  # loaded: from here on the page listens for keys
    assert page.locator("th[aria-sort=ascending]").count() == 1

    page.keyboard.press("/")
    playwright.expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("mary")
    page.keyboard.press("Enter")
    page.wait_for_url("**search=mary**")
    shoot(page, "search")
    assert "match" in page.locator(".count").inner_text()

    page.locator(".list tbody th a", has_text="14").click()
    page.wait_for_url("**/features/14")
    assert page.locator("h1").inner_text() == "Feature 14"
    assert page.locator(".peak").first.inner_text().strip() in {"Mary", "John"}
    shoot(page, "feature")

    page.locator("#try textarea").fill("Then John saw a bird")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#try mark")
    assert page.locator("#try mark").all_inner_texts() == [" John"]

    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/features/15")
    assert "<script>" in page.locator(".examples").inner_text()

    page.keyboard.press("t")
    page.wait_for_url("**/text")
    page.locator("textarea").fill("When John met Mary, the sparrow was on the table.")
    page.get_by_role("button", name="Read").click()
    page.wait_for_selector(".gloss")
    assert page.locator(".gloss .token").first.inner_text() == "When"
    page.locator(".fired li", has_text="Mary").get_by_role("button").click()
    assert page.locator(".gloss .token:not(.a0)").all_inner_texts() == [" John", " Mary"]
    shoot(page, "text")
    assert problems == []


def test_an_error_is_shown_where_it_happens(watched, address):
    page, problems = watched
    page.goto(f"{address}/d/demo/text")
    page.locator("textarea").evaluate(
        "field => { field.removeAttribute('maxlength'); field.value = 'x'.repeat(5000); }"
    )
    page.get_by_role("button", name="Read").click()
    page.wait_for_selector(".problem")
    assert "4000" in page.locator(".problem").inner_text()
    problems[:] = [problem for problem in problems if "422" not in problem]  # the browser logs the refusal itself
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 420])
def test_nothing_is_wider_than_the_window(browser, address, shoot, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    for name, path in (("dictionary", "/d/demo"), ("feature", "/d/demo/features/3"), ("text", "/d/demo/text")):
        page.goto(address + path)
        shoot(page, f"{name}-{scheme}-{width}")
        assert fits(page), path
    context.close()


def test_the_report_needs_nothing(browser, root):
    context = browser.new_context()
    page = context.new_page()
    report = write_report(root / "demo").as_uri()
    problems = watch(page, report)
    page.goto(report)
    assert page.locator("article").count() > 5
    assert problems == []
    context.close()
