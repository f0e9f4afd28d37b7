"""Home, compare, jobs and files to keep, in headless Chromium. Oracle: what is seen, and the browser's own log."""

from __future__ import annotations

import re
import shutil

import pytest

from .serving import running
from .watching import fits, watch

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def address(root, tmp_path_factory):
    """The running app, with its queue, on a copy of the run."""
    runs = tmp_path_factory.mktemp("own") / "runs"
    shutil.copytree(root, runs)
    (runs / "demo" / ".tuned.work" / "checkpoints" / "0000000042").mkdir(parents=True)
    apps = []
    with running(runs, apps.append) as port, apps[0].state.jobs.working():
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=[1280, 420])
def watched(browser, request):
    """A page, wide and narrow, and a list of everything that went wrong on it."""
    context = browser.new_context(viewport={"width": request.param, "height": 860})
    page = context.new_page()
    yield page, watch(page)
    context.close()


def test_from_the_graph_to_a_dictionary(watched, address):
    page, problems = watched
    page.goto(address)
    assert "stopped at step 42; the same command goes on" in page.locator(".unfinished").inner_text()
    assert page.locator(".lineage .box").count() == 6
    assert fits(page)
    page.get_by_role("link", name=re.compile("^SAE")).click()
    page.wait_for_url("**/d/demo")
    page.go_back()
    page.get_by_role("link", name=re.compile("^Activations")).click()
    assert page.locator("tr:target").inner_text().startswith("Activations")
    assert problems == []


def test_two_features_and_their_swap(watched, address):
    page, problems = watched
    page.goto(f"{address}/compare")
    page.get_by_label("First").fill("demo:14")
    page.get_by_label("Second").fill("demo:7")
    page.keyboard.press("Enter")
    page.wait_for_url("**b=demo%3A7*")
    assert page.locator("h1").inner_text() == "Feature 14 and Feature 7"
    assert fits(page)
    page.locator("h1").click()
    page.keyboard.press("s")
    page.wait_for_url("**a=demo%3A7*")
    assert page.locator("h1").inner_text() == "Feature 7 and Feature 14"
    assert problems == []


def test_a_job_is_seen_through_without_reloading(watched, address):
    page, problems = watched
    page.goto(f"{address}/jobs")
    before = page.locator(".jobs li").count()
    page.locator("form[data-verb=verify] button").click()
    newest = page.locator(".jobs li").first
    playwright.expect(page.locator(".jobs li")).to_have_count(before + 1)
    playwright.expect(newest).to_have_attribute("data-state", "done", timeout=60_000)
    assert "Every byte is what was written." in newest.inner_text()
    newest.get_by_text("What it said").click()
    assert "whole" in newest.locator("pre").inner_text()
    assert fits(page)
    assert problems == []


def test_a_kept_file_shows_itself_without_the_app(watched, address, tmp_path):
    page, problems = watched
    page.goto(f"{address}/d/demo/features/15")
    with page.expect_download() as download:
        page.get_by_role("link", name="This feature as a file").click()
    file = tmp_path / "kept.html"
    download.value.save_as(file)
    page.goto(file.as_uri())
    assert page.locator("h1").inner_text() == "Feature 15"
    assert page.evaluate("getComputedStyle(document.querySelector('.peak')).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert problems == []
