"""lexiscope view: the web app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    runs: Annotated[Path, typer.Argument(help="A run folder, or a folder of several.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8765,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = False,
) -> None:
    """Read dictionaries in a browser, on this machine only."""
    from lexiscope.core.errors import InputError
    from lexiscope.web.server import serve

    if not runs.is_dir():
        raise InputError(f"no folder at {runs}; make one with: lexiscope demo --out {runs}")
    serve(runs, port=port, open_browser=browser)
