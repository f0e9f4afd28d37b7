"""Take the pictures of the README from a run folder, with the Chromium that the tests use.

Usage: python tools/screenshots.py [RUN] [--out docs/images] [--feature N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from lexiscope.measure.scorecard import SAE, Scorecard

TEXT = 'def area(width, height=2):\n    """Multiply them."""\n    return width * height  # in metres\n'
STEERING_MILLISECONDS = 15_000
"""Until both texts are written."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--feature", type=int, help="default: the feature that tells a concept best")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lexiscope.cli.main", "view", str(arguments.run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stdout is not None
        address = next(line.split()[-1] for line in server.stdout if "http://" in line)
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(address)
        page.locator("main a").first.click()
        page.wait_for_url("**/d/*")
        dictionary = page.url
        page.screenshot(path=arguments.out / "dictionary.png")
        feature = clearest_feature(arguments.run) if arguments.feature is None else arguments.feature
        page.goto(f"{dictionary}/features/{feature}")
        page.screenshot(path=arguments.out / "feature.png")
        page.goto(f"{dictionary}/text")
        page.locator("textarea").fill(TEXT)
        page.get_by_role("button", name="Read").click()
        page.wait_for_selector(".gloss")
        page.screenshot(path=arguments.out / "text.png")
        page.goto(f"{dictionary}/steer?prompt=The+old+house&turn=clamp:{feature}:1max")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(STEERING_MILLISECONDS)
        page.screenshot(path=arguments.out / "steer.png")
        browser.close()
        server.terminate()
    print(f"dictionary, feature {feature}, text and steering in {arguments.out}")


def clearest_feature(run: Path) -> int:
    """The feature that tells a concept of the bank best."""
    latents = Scorecard.open(run / "scorecard").concepts.coverage[SAE].latents
    return max((best for best in latents if best.latent is not None), key=lambda best: best.f1).latent


if __name__ == "__main__":
    main()
