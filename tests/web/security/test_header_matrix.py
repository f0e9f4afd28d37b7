"""Every combination of what a request can say about itself. Oracle: a decision table, written from docs/security.md.

The guard stands before an app that answers 299 to whatever reaches it: a bypass is a 299 that the table has not.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, NamedTuple

import pytest

from lexiscope.web.security.access import Access
from lexiscope.web.security.guard import Guard

TOKEN = "k7Qb2wXz9LmN4pRs8TvY3hJd6FgC1aEu5"
OWN = "127.0.0.1:8765"
THROUGH = 299

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "BREW"]
HOSTS = [OWN, "localhost:8765", "127.0.0.1:8765.evil.example", "evil.example", None]
ORIGINS = [None, "own", "http://evil.example", "null", f"https://{OWN}"]
FETCHES = [
    {},
    {"site": "same-origin", "mode": "cors", "dest": "empty"},
    {"site": "none", "mode": "navigate", "dest": "document"},
    {"site": "cross-site", "mode": "navigate", "dest": "document"},
    {"site": "cross-site", "mode": "navigate", "dest": "iframe"},
    {"site": "cross-site", "mode": "no-cors", "dest": "image"},
    {"site": "cross-site", "mode": "no-cors", "dest": "document"},
    {"site": "same-site", "mode": "cors", "dest": "empty"},
    {"site": "Same-Origin", "mode": "cors", "dest": "empty"},
]
TYPES = [None, "application/json", "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded"]
CREDENTIALS = [None, "token", "wrong token", "cookie", "wrong cookie", "wrong token and cookie"]


class Request(NamedTuple):
    method: str
    host: str | None
    origin: str | None
    fetch: dict[str, str]
    media: str | None
    credential: str | None


def verdict(request: Request, *, token: bool, read_only: bool) -> int:
    """The table. The first row that holds decides."""
    reads = request.method in {"GET", "HEAD"}
    changes = request.method in {"POST", "PUT", "PATCH", "DELETE"}
    site = request.fetch.get("site")
    link = request.fetch.get("mode") == "navigate" and request.fetch.get("dest") == "document"
    says_where_from = request.origin is not None or site is not None
    table = [
        (request.host not in {OWN, "localhost:8765"}, 400),
        (not reads and not changes, 405),
        (request.origin not in {None, "own"}, 403),
        (site == "none" and changes, 403),
        (site in {"cross-site", "same-site"} and not (reads and link), 403),
        (site not in {None, "same-origin", "none", "cross-site", "same-site"}, 403),
        (token and request.credential not in {"token", "cookie"}, 401),
        (token and request.credential == "cookie" and changes and not says_where_from, 403),
        (read_only and changes, 403),
        (changes and request.media not in {"application/json", "application/json; charset=utf-8"}, 415),
    ]
    return next((status for holds, status in table if holds), THROUGH)


def combinations() -> list[Request]:
    return [Request(*parts) for parts in itertools.product(METHODS, HOSTS, ORIGINS, FETCHES, TYPES, CREDENTIALS)]


@pytest.mark.parametrize(("token", "read_only"), [(False, False), (True, False), (True, True), (False, True)])
def test_nothing_gets_by(token, read_only):
    access = Access.at(port=8765, token=TOKEN if token else None, read_only=read_only)
    session = access.door.sign_in(f"code={access.door.code}".encode(), "") if access.door else "none"
    guard = Guard(through, access)
    wrong = []

    async def try_all() -> int:
        tried = 0
        for request in combinations()[int(token) :: 3]:
            tried += 1
            found = await status_of(
                guard, request, session, client=f"10.{tried >> 16}.{tried >> 8 & 255}.{tried & 255}"
            )
            if found != (expected := verdict(request, token=token, read_only=read_only)):
                wrong.append((request, found, expected))
        return tried

    assert asyncio.run(try_all()) >= 2000
    assert wrong == []


def test_the_table_lets_some_through():
    """Or the test above would show nothing."""
    through = [request for request in combinations() if verdict(request, token=True, read_only=False) == THROUGH]
    assert {request.method for request in through} == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    assert {request.credential for request in through} == {"token", "cookie"}


@pytest.mark.parametrize("name", ["sec-fetch-site", "origin", "content-type"])
def test_a_header_that_comes_twice_is_not_believed(name):
    values = {"sec-fetch-site": "same-origin", "origin": f"http://{OWN}", "content-type": "application/json"}
    headers = [("host", OWN), *values.items()]
    guard = Guard(through, Access.at(port=8765))
    assert asyncio.run(answer(guard, "POST", headers)) == THROUGH
    for second in (values[name], "cross-site", "http://evil.example", "text/plain"):
        for order in (1, -1):
            twice = [*headers, (name, second)][::order]
            assert asyncio.run(answer(guard, "POST", twice)) in {403, 415}


async def through(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": THROUGH, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def status_of(guard: Guard, request: Request, session: str, client: str) -> int:
    headers = [("host", request.host), ("content-type", request.media)]
    headers += [("origin", f"http://{request.host}" if request.origin == "own" else request.origin)]
    headers += [(f"sec-fetch-{name}", value) for name, value in request.fetch.items()]
    credential = request.credential or ""
    if "token" in credential:
        headers += [("authorization", f"Bearer {'x' * 33 if 'wrong' in credential else TOKEN}")]
    if "cookie" in credential:
        headers += [("cookie", f"lexiscope-8765={'x' * 43 if credential == 'wrong cookie' else session}")]
    return await answer(guard, request.method, [(name, value) for name, value in headers if value is not None], client)


async def answer(guard: Guard, method: str, headers: list[tuple[str, str]], client: str = "") -> int:
    found = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "method": method, "path": "/d/demo/x.json", "raw_path": b"/d/demo/x.json", "headers": raw}
    await guard({**scope, "query_string": b"", "client": (client, 1)}, receive, send)
    return found[0]
