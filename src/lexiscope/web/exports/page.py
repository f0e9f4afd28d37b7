"""Page: what an address of the app answers, as JSON or CSV, with nothing listening.

The app is asked as a server would ask it, so what is kept is byte for byte what the address answers in a browser.

    /d/demo?sort=density&limit=200           with .json or .csv behind the path, or with the kind that is asked for
    http://127.0.0.1:8765/d/demo/features/3  as it stands in the browser; host and fragment are left out
"""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp

from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.web.app import DEFAULT_PORT, create_app

Kind = Literal["json", "csv"]
_SUFFIXES = (".json", ".csv", ".html")


def write_page(root: Path, address: str, kind: Kind, write: Callable[[str], object]) -> None:
    """Hand over what an address answers, a piece at a time; nothing where it is refused.

    Args:
        root: the folder of runs, as for `lexiscope view`.
        kind: of answer, where the address does not end in one.

    Raises:
        InputError: there is no such page, or it has no such answer; the message says why.
    """
    try:
        parts = urlsplit(address.strip())
        path = "/" + parts.path.lstrip("/")
        (path + parts.query).encode("ascii")
    except ValueError:
        raise InputError(f"{address} is no address; copy one from the browser, such as /d/demo?sort=density") from None
    if not path.endswith(_SUFFIXES):
        path = f"{path.rstrip('/') or '/'}.{kind}"
    refused = asyncio.run(_ask(create_app(root), path, parts.query, write))
    if refused is not None:
        raise _why(*refused, f"{path}{'?' if parts.query else ''}{parts.query}")


async def _ask(app: ASGIApp, path: str, query: str, write: Callable[[str], object]) -> tuple[int, bytes] | None:
    """What was answered in place of the page; None: the page was."""
    host = f"127.0.0.1:{DEFAULT_PORT}"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", host.encode())],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", DEFAULT_PORT),
    }
    status, refused, decoder = 500, b"", codecs.getincrementaldecoder("utf-8")()
    bodies: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for body in bodies:
            return body
        await asyncio.Event().wait()  # nobody hangs up
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, refused
        if message["type"] == "http.response.start":
            status = message["status"]
        elif status == 200:
            write(decoder.decode(message["body"]))
        else:
            refused += message["body"]

    await app(scope, receive, send)
    return None if status == 200 else (status, refused)


def _why(status: int, found: bytes, target: str) -> LexiscopeError:
    try:
        said = str(json.loads(found)["error"]).rstrip(".")
    except (ValueError, LookupError, TypeError):
        said = f"it answers {status}"
    kind = InputError if status < 500 else LexiscopeError
    return kind(f"{target}: {said}; give the address of a page as in the browser, and --csv only where it has a table")
