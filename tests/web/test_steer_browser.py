"""The page that steers in Chromium. Oracles: what a reader sees, the answer to the same request made by a program, and
the browser's own log of requests and errors."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from lexiscope.steer import live
from lexiscope.web.client import Client

from .serving import running
from .watching import fits, watch

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
PROMPT = "def f(x): <script>alert(1)</script>"


@pytest.fixture(scope="module")
def address(root, give_model):
    with running(root, give_model) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def watched(browser, address):
    """A page, and a list of everything that went wrong on it."""
    context = browser.new_context(viewport={"width": 1360, "height": 1000})
    page = context.new_page()
    yield page, watch(page, address)
    context.close()


@pytest.fixture
def shoot(tmp_path):
    folder = Path(os.environ.get("LEXISCOPE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=folder / f"{name}.png", full_page=True)


def settled(page):
    """Waits until both texts are whole."""
    page.wait_for_selector(".both[aria-busy=false]")
    return {run: page.locator(f"#{run} .t").all_text_contents() for run in ("default", "steered")}


def asked(page):
    """What the address says."""
    found = parse_qs(urlsplit(page.url).query)
    return {
        "prompt": found["prompt"][0],
        "turn": found.get("turn", []),
        "temperature": float(found["temperature"][0]),
        "seed": int(found["seed"][0]),
        "tokens": int(found["tokens"][0]),
        "error": found["error"][0],
    }


def by_a_program(address, page):
    body = asked(page)
    answer = Client(address).write("demo", body.pop("prompt"), **body)
    return {run: [token.shown for token in getattr(answer, run)] for run in ("default", "steered")}


def test_from_a_feature_to_two_texts_and_a_link(watched, browser, address, shoot):
    page, problems = watched
    page.goto(f"{address}/d/demo/features/14")
    page.get_by_role("link", name="Turn this feature").click()
    page.wait_for_url("**/steer?turn=clamp**")
    settled(page)
    page.get_by_label("How the text begins").fill(PROMPT)
    page.get_by_label("New tokens").fill("12")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**script**")
    texts = settled(page)
    assert asked(page) | {"turn": ["clamp:14:1max"], "tokens": 12, "prompt": PROMPT} == asked(page)
    assert texts == by_a_program(address, page)
    assert "</script>" in "".join(texts["default"])

    page.get_by_label("Strength of feature 14", exact=True).press("End")
    page.wait_for_url("**clamp%3A14%3A4max**")
    texts = settled(page)
    assert texts == by_a_program(address, page)
    assert texts["default"] != texts["steered"]
    assert "part" in page.locator("#status").inner_text()
    marked = [page.locator(f"#{run} .parts").get_attribute("data-place") for run in ("default", "steered")]
    first = next(place for place, both in enumerate(zip(*texts.values(), strict=False)) if both[0] != both[1])
    assert marked == [str(first)] * 2
    shoot(page, "steer")

    page.locator("#steered .t").nth(first).hover()
    assert page.locator("#steered-features .is-turned a").all_inner_texts() == ["14"]
    page.locator("#steered").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("#steered").get_attribute("aria-activedescendant") == "steered-1"
    assert page.locator("#default-features .chip").first.inner_text().strip() == texts["default"][1].strip()

    context = browser.new_context()
    other = context.new_page()
    other.goto(page.url)
    assert settled(other) == texts
    context.close()
    assert problems == []


def test_features_are_found_turned_another_way_and_left_alone(watched, address):
    page, problems = watched
    page.goto(f"{address}/d/demo/steer")
    assert page.locator("#none").is_visible()
    assert page.locator("#default .t").count() == 0
    finder = page.get_by_label("Find a feature to turn")
    finder.fill("mary")
    page.locator("#found button", has_text="14").click()
    texts = settled(page)
    assert texts["default"]
    assert page.locator("#none").is_hidden()
    row = page.locator(".turn[data-feature='14']")
    for kind, written in (("scale", "scale:14:2"), ("ablate", "ablate:14"), ("add", "add:14:2max")):
        row.get_by_role("combobox").select_option(kind)
        page.wait_for_url(f"**{written.replace(':', '%3A')}&**")
    row.get_by_label("Strength of feature 14 as a number").fill("0")
    row.get_by_label("Strength of feature 14 as a number").press("Tab")
    page.wait_for_url("**add%3A14%3A0max**")
    texts = settled(page)
    assert texts["default"] == texts["steered"]
    assert row.locator(".unit").inner_text() == "off"
    playwright.expect(page.locator("#status")).to_have_text("No feature is turned, so both texts are the same.")
    row.get_by_role("button").click()
    playwright.expect(page.locator(".turn")).to_have_count(0)
    assert page.locator("#none").is_visible()

    finder.fill("#0")
    dead = page.locator("#found button", has_text="dead")
    playwright.expect(dead).to_be_disabled()
    finder.fill("nothing like it")
    playwright.expect(page.locator("#found")).to_contain_text("No feature")
    finder.press("Escape")
    assert page.locator("#found").is_hidden()
    assert problems == []


def test_what_can_not_be_is_said_on_the_page(watched, address):
    page, problems = watched
    page.goto(f"{address}/d/demo/steer?prompt=def&turn=%3Cb%3E&turn=clamp:99:1max&turn=clamp:0:1max&turn=clamp:2:1max")
    settled(page)
    said = page.locator("main").inner_text()
    assert "turns no feature" in said
    assert "no feature 99" in said
    assert "never fires in the indexed text" in said
    assert asked(page)["turn"] == ["clamp:2:1max"]
    page.get_by_label("How the text begins").fill(" ")
    page.get_by_role("button", name="Write").click()
    playwright.expect(page.locator("#status")).to_contain_text("Begin a text first")
    page.get_by_label("How the text begins").fill("x " * 480)
    page.get_by_role("button", name="Write").click()
    playwright.expect(page.locator("#status")).to_contain_text("positions")
    problems[:] = [problem for problem in problems if "422" not in problem]  # the browser logs the refusal itself
    assert problems == []


def test_a_text_is_stopped_and_another_begun(watched, address, monkeypatch):
    page, problems = watched
    stopped, stream = threading.Event(), live.stream

    def standing_still(*arguments, **options):
        """A model that stops after some tokens: however fast it is, there is something to stop."""
        for place, token in enumerate(stream(*arguments, **options)):
            if place == 12:
                stopped.wait(60)
            yield token

    monkeypatch.setattr(live, "stream", standing_still)
    page.goto(f"{address}/d/demo/steer?prompt=def&tokens=200")
    page.wait_for_selector("#default .t:nth-of-type(5)")
    page.get_by_role("button", name="Stop").click()
    stopped.set()
    playwright.expect(page.locator("#status")).to_have_text("Stopped.")
    page.get_by_label("New tokens").fill("3")
    page.get_by_role("button", name="Write").click()
    page.wait_for_url("**tokens=3**")
    assert len(settled(page)["default"]) == 4
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 420])
def test_it_fits_and_can_be_printed(browser, address, shoot, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{address}/d/demo/steer?prompt=def f(x):&turn=clamp:14:3max&turn=add:4:-1max&turn=ablate:8&tokens=40")
    settled(page)
    page.locator("#steered .t").nth(6).hover()
    assert fits(page)
    shoot(page, f"steer-{scheme}-{width}")
    page.emulate_media(media="print")
    assert page.get_by_role("button", name="Write").is_hidden()
    assert page.locator("#steered").is_visible()
    shoot(page, f"steer-{scheme}-{width}-print")
    context.close()
