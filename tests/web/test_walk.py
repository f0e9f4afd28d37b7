"""A newcomer's walk in Chromium: from home in at most five clicks to a feature, its examples, what it promotes, what is
near it and what happens without it. Oracle: what a reader sees, with clicks counted.

LEXISCOPE_RUN names the folder of a real run, where the walk leads to a closing parenthesis; without it the synthetic
world is walked, whose clearest parenthesis is an opening one.
"""

from __future__ import annotations

import os
import shutil

import pytest

from .serving import running
from .watching import watch

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture
def walk(root, give_model, tmp_path):
    """Address of a run, and the token to look for."""
    run = os.environ.get("LEXISCOPE_RUN")
    own = tmp_path / "runs"
    shutil.copytree(run or root, own, ignore=shutil.ignore_patterns("*.sqlite*", "store"))
    with running(own, *([] if run else [give_model])) as port:
        yield f"http://127.0.0.1:{port}", ")" if run else "("


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.problems = watch(page)
    yield page
    context.close()


def test_five_clicks_to_a_parenthesis(page, walk):
    address, token = walk
    clicks = []

    def click(target):
        clicks.append(str(target))
        target.click()

    page.goto(address)
    click(page.locator("main a[href^='/d/']").first)
    page.wait_for_url("**/d/*")
    click(page.get_by_role("searchbox"))
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    page.wait_for_url("**search=**")
    # The first concept that is said to be a parenthesis, as anybody would take it.
    click(page.locator(".list tbody tr", has_text="parenthesis").first.locator("th a"))
    page.wait_for_url("**/features/*")
    assert token in page.locator(".peak").first.inner_text()
    assert page.locator(".examples .example").count() >= 5
    assert page.locator("aside .effects .chip").count() >= 2
    assert page.locator("aside .neighbours li").count() >= 1
    click(page.get_by_role("button", name="Measure what ablating it does"))
    page.wait_for_selector(".intervals")
    rows = page.locator(".intervals th").all_inner_texts()
    assert rows == ["this feature", "another feature", "a random direction"]
    assert len(clicks) <= 5
    assert page.problems == []
    page.reload()
    assert page.locator(".intervals").count() == 1


def test_what_is_written_is_there_afterwards(page, walk):
    address, _ = walk
    page.goto(address)
    page.locator("main a[href^='/d/']").first.click()
    page.locator(".list tbody th a").first.click()
    page.wait_for_url("**/features/*")
    page.keyboard.press("l")
    page.keyboard.type("מילה <b>bold</b>")
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".meaning")).to_have_text("מילה <b>bold</b>")
    page.locator(".write [name=text]").fill("seen")
    page.get_by_role("button", name="Tag", exact=True).click()
    playwright.expect(page.locator(".feature-head .tag a")).to_have_text("seen")
    page.get_by_role("button", name="Bookmark").click()
    playwright.expect(page.locator(".star")).to_have_attribute("aria-pressed", "true")
    page.locator(".tag button").click()
    playwright.expect(page.locator(".feature-head .tag")).to_have_count(0)
    assert page.problems == []


def test_keys_are_listed_and_lead_on(page, walk):
    address, _ = walk
    page.goto(address)
    page.locator("main a[href^='/d/']").first.click()
    page.wait_for_url("**/d/*")
    page.keyboard.press("?")
    assert "Jump to a feature" in page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    playwright.expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.type("#7")
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/7")
    assert page.problems == []


def test_a_text_is_read_while_one_types_and_stays_in_the_address(page, walk):
    address, _ = walk
    page.goto(address)
    page.locator("main a[href^='/d/']").first.click()
    page.wait_for_url("**/d/*")
    page.keyboard.press("t")
    page.wait_for_url("**/text")
    asked = []
    page.on("request", lambda request: asked.append(request.post_data) if request.method == "POST" else None)
    page.locator("textarea").fill("")
    page.locator("textarea").press_sequentially("then John saw", delay=5)
    page.wait_for_selector(".gloss")
    page.wait_for_url("**text=then+John+saw**")
    assert len(asked) < len("then John saw")
    page.locator(".gloss .token").nth(1).click()
    assert page.locator(".made-of li").count() >= 3
    assert page.locator("#matrix .cell:not(.a0)").count() > 0
    shown = page.locator("#result").inner_text()
    page.goto(page.url)
    page.wait_for_selector(".gloss")
    assert page.locator("#result").inner_text() == shown
    assert page.problems == []
