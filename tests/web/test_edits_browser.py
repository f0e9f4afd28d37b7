"""Caps, patches, places and kept edits on the page that steers, in Chromium. Oracles: what a reader sees, the answer to
the same request made by a program, and the browser's own log."""

from __future__ import annotations

import shutil
import tomllib
from urllib.parse import parse_qs, urlsplit

import pytest

from lexiscope.steer.edit import Edit
from lexiscope.web.client import Client

from .serving import running
from .watching import fits, watch

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
PROMPT = "def f(x):"


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """A run of its own: edits are kept in it."""
    return shutil.copytree(root, tmp_path_factory.mktemp("edits") / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))


@pytest.fixture(scope="module")
def address(runs, give_model):
    with running(runs, give_model) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=[1360, 420])
def watched(browser, request):
    """A page, wide and narrow, and a list of everything that went wrong on it."""
    context = browser.new_context(viewport={"width": request.param, "height": 1000})
    page = context.new_page()
    yield page, watch(page)
    context.close()


def begin(page, address, query=""):
    page.goto(f"{address}/d/demo/steer?prompt={PROMPT}&tokens=12{query}")
    return settled(page)


def settled(page):
    """Waits until both texts are whole."""
    page.wait_for_selector(".both[aria-busy=false]")
    return {run: page.locator(f"#{run} .t").all_text_contents() for run in ("default", "steered")}


def asked(page):
    found = parse_qs(urlsplit(page.url).query)
    return {name: found[name][0] for name in ("on", "positions", "edit") if name in found} | {
        "turn": found.get("turn", [])
    }


def by_a_program(address, **body):
    answer = Client(address).write("demo", PROMPT, tokens=12, **body)
    return {run: [token.shown for token in getattr(answer, run)] for run in ("default", "steered")}


def test_a_feature_is_capped_on_some_tokens(watched, address):
    page, problems = watched
    begin(page, address, "&turn=clamp:4:1max")
    row = page.locator(".turn[data-feature='4']")
    row.get_by_label("What to do to feature 4").select_option("cap")
    page.wait_for_url("**cap%3A4%3A1max**")
    row.get_by_label("Strength of feature 4 as a number").fill("-2")
    page.get_by_label("On which tokens").select_option("generated")
    page.get_by_label("Positions").fill("3:")
    page.get_by_label("Positions").press("Tab")
    page.wait_for_url("**positions=3%3A**")
    texts = settled(page)
    assert asked(page) == {"turn": ["cap:4:-2max"], "on": "generated", "positions": "3:"}
    assert row.locator(".unit").inner_text().endswith("max")
    assert texts == by_a_program(address, turn=["cap:4:-2max"], on="generated", positions="3:")
    assert texts["default"] != texts["steered"]
    page.get_by_label("Positions").fill("three")
    page.get_by_role("button", name="Write").click()
    assert page.get_by_label("Positions").evaluate("field => field.validity.patternMismatch")
    assert fits(page)
    assert problems == []


def test_features_are_patched_from_another_prompt(watched, address):
    page, problems = watched
    begin(page, address, "&turn=clamp:4:1max")
    row = page.locator(".turn[data-feature='4']")
    row.get_by_label("What to do to feature 4").select_option("patch")
    playwright.expect(row.get_by_label("Strength of feature 4", exact=True)).to_be_hidden()
    playwright.expect(page.locator("#status")).to_have_text("No feature is turned, so both texts are the same.")
    row.get_by_label("Prompt that feature 4 is patched from").fill("while True:")
    row.get_by_label("Prompt that feature 4 is patched from").press("Control+Enter")
    page.wait_for_url("**patch%3A4%3Awhile+True**")
    assert settled(page) == by_a_program(address, turn=["patch:4:while True:"])
    page.get_by_role("button", name="Patch all features", exact=True).click()
    everything = page.get_by_label("Prompt that all features are patched from")
    playwright.expect(everything).to_be_focused()
    everything.fill("Mary\nsaid <b>")
    page.get_by_role("button", name="Write").click()
    page.wait_for_url("**patch%3Aall**")
    texts = settled(page)
    turn = ["patch:4:while True:", "patch:all:Mary\nsaid <b>"]
    assert texts == by_a_program(address, turn=turn)
    page.reload()
    assert settled(page) == texts
    assert asked(page)["turn"] == turn
    assert page.get_by_label("Prompt that all features are patched from").input_value() == "Mary\nsaid <b>"
    assert fits(page)
    page.get_by_role("button", name="Patch all features no longer").click()
    page.wait_for_function("() => !location.search.includes('all')")
    assert asked(page)["turn"] == turn[:1]
    assert problems == []


def test_what_is_set_is_kept_and_applied(watched, address, runs, browser):
    page, problems = watched
    name = f"kind-{page.viewport_size['width']}"
    begin(page, address, "&turn=clamp:4:2max&turn=patch:6:Mary&on=prompt&error=drop")
    page.locator("#keep summary").click()
    playwright.expect(page.locator("#recipe")).to_contain_text("Mary")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "recipe.toml"
    recipe = tomllib.loads(download.value.path().read_text())
    assert (recipe["error"], [one["do"] for one in recipe["edit"]]) == ("drop", ["clamp", "patch"])
    page.get_by_label("Name of the edit").fill(name)
    page.get_by_label("What the edit is for").fill("<img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Keep as an edit").click()
    playwright.expect(page.locator("#keep-said")).to_contain_text(f"Kept as demo/edits/{name}")
    assert Edit.open(runs / "demo" / "edits" / name).report.purpose == "<img src=x onerror=alert(1)>"
    page.get_by_role("button", name="Keep as an edit").click()
    playwright.expect(page.locator("#keep-said")).to_contain_text("already")

    before = settled(page)
    page.goto(f"{address}/d/demo/steer?prompt=def f(x):&seed=7&tokens=12")
    settled(page)
    assert "<img src=x" in page.locator("#edits").inner_text()
    page.get_by_role("link", name=f"Apply demo/edits/{name}").click()
    page.wait_for_url("**error=drop**")
    assert settled(page) == before
    assert asked(page)["on"] == "prompt"
    assert "seed=7" in page.url
    assert fits(page)
    problems[:] = [problem for problem in problems if "409" not in problem]  # the browser logs the refusal itself
    assert problems == []


def test_an_edit_is_applied_by_its_name_and_no_longer(watched, address, runs):
    page, problems = watched
    if not (runs / "demo" / "half").exists():
        client = Client(address)
        client.keep_edit("demo", name="half", turn=["clamp:4:2max"])
        shutil.move(runs / "demo" / "edits" / "half", runs / "demo" / "half")
    texts = begin(page, address, "&edit=demo/half")
    assert texts == by_a_program(address, edit="demo/half")
    assert "1 change of its own" in page.locator("#applied").inner_text()
    assert page.get_by_role("link", name="Apply demo/half").inner_text() == "Applied"
    page.get_by_role("button", name="Apply the edit no longer").click()
    playwright.expect(page.locator("#status")).to_have_text("No feature is turned, so both texts are the same.")
    assert "edit" not in asked(page)
    assert page.locator("#none").is_visible()
    assert problems == []
