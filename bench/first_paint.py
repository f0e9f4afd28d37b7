"""How soon something is to be seen: first contentful paint of pages in a real browser.

    python bench/first_paint.py RUN [--times 10]

Starts `lexiscope view RUN` and opens home, the dictionary and features in Chromium, each time in a new profile, so that
nothing comes out of a cache. Prints when the first answer was there and when Chromium first painted text, in
milliseconds after the page was asked for. The first visit of each page is told apart: the index is opened then.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from clients import served
from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
TIMES = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const page = performance.getEntriesByType("navigation")[0];
  return paint && [page.responseStart, paint.startTime];
}"""


def visit(browser: Browser, address: str) -> tuple[float, float]:
    """Milliseconds until the answer began and until something was painted."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(address, wait_until="load")
    found: Any = page.wait_for_function(TIMES).json_value()
    page.context.close()
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--times", type=int, default=10)
    given = parser.parse_args()
    chance = random.Random(0)
    with served(given.run) as (port, _), sync_playwright() as playwright:
        base = f"http://127.0.0.1:{port}"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        pages = {"home": lambda: f"{base}/"}
        visit(browser, f"{base}/static/base.js")  # the browser itself takes a while to start
        with urllib.request.urlopen(f"{base}/.json") as answer:
            dictionary = json.load(answer)["dictionaries"][0]
        own = f"{base}/d/{dictionary['name']}"
        pages |= {
            "dictionary": lambda: own,
            "feature": lambda: f"{own}/features/{chance.randrange(dictionary['num_features'])}",
        }
        print(f"{'':<12}{'first visit':>12}{'answer p50':>12}{'paint p50':>12}{'p95':>8}{'most':>8}   ms")
        for name, address in pages.items():
            first, *others = (visit(browser, address()) for _ in range(given.times + 1))
            answers, paints = zip(*others, strict=True)
            p50, p95 = np.percentile(paints, [50, 95])
            print(f"{name:<12}{first[1]:12.0f}{np.median(answers):12.0f}{p50:12.0f}{p95:8.0f}{max(paints):8.0f}")
        browser.close()


if __name__ == "__main__":
    main()
