"""What goes wrong on a page that Chromium shows, for tests that click through it."""

from __future__ import annotations

from typing import Any


def watch(page: Any, address: str | None = None) -> list[str]:
    """A list of everything that goes wrong from now on: what the browser complains of, and errors of scripts.

    Args:
        address: of the app; whatever is asked of anybody else goes wrong, too.
    """
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    if address is not None:
        page.on("request", lambda asked: asked.url.startswith(address) or wrong.append(f"request to {asked.url}"))
    return wrong


def fits(page: Any) -> bool:
    """Whether nothing sticks out of the window to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
