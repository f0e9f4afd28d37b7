"""lexiscope view: the web app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    runs: Annotated[Path, typer.Argument(help="A run folder, or a folder of several.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8765,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen at; others than this machine's own need a token.")] = (
        "127.0.0.1"
    ),
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that lets people in; else LEXISCOPE_TOKEN is read.")
    ] = None,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make a token, and keep it in --token-file if that is given.")
    ] = False,
    allow_host: Annotated[
        list[str], typer.Option(metavar="NAME", help="A name by which others reach it: NAME, NAME:PORT, https://NAME.")
    ] = [],  # noqa: B006 - Typer reads the default and does not change it
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse whatever could change something.")] = False,
) -> None:
    """Read dictionaries in a browser; on this machine only, unless there is a token."""
    from lexiscope.core.errors import InputError
    from lexiscope.web.security.access import read_token
    from lexiscope.web.server import serve

    if not runs.is_dir():
        raise InputError(f"no folder at {runs}; make one with: lexiscope demo --out {runs}")
    serve(
        runs,
        host=host,
        port=port,
        token=read_token(token_file, new=new_token),
        allow_hosts=allow_host,
        read_only=read_only,
        open_browser=browser,
    )
