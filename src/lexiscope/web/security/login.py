"""Door: who knows the token, and the link that signs a browser in once.

What somebody presents is hashed and compared whole, whether anything was presented or not, so that neither the time nor
the answer tells how much of it was right. Only hashes are kept. Whoever is wrong too often has to wait; a browser that
is signed in already is never among them.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from lexiscope.web.security.refusals import Refusal, too_often

MOST_FAILURES = 10
FAILURE_SECONDS = 6.0
"""After ten wrong tokens from one address, one more every six seconds."""

_MOST_ADDRESSES = 4096
_MOST_CHARACTERS = 1024
_MOST_COOKIES = 4
_SIGNED_IN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lexiscope</title><meta http-equiv="refresh" content="0;url=/"></head>
<body><p>You are signed in. <a href="/">Go on to Lexiscope</a></p></body></html>
"""
_SPENT = Refusal(403, "This link does not sign in, or no longer: it can be used once. Start Lexiscope again.")
_FETCHED_AHEAD = Refusal(403, "This link is for one visit and can't be fetched ahead.")


class Known(Enum):
    """As whom a request comes."""

    NOBODY = "nobody"
    SCRIPT = "script"
    """With the token in its Authorization."""
    BROWSER = "browser"
    """With the cookie of the login link."""
    TOO_OFTEN = "too often"
    """With an Authorization, from an address that was wrong too often; whether it is right is not told."""


class Door:
    """Of one running app.

    Attributes:
        code: what the login link carries; worth nothing once it was used.
        cookie: name of the cookie; browsers do not keep the cookies of two ports apart.
    """

    def __init__(self, token: str, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.code = secrets.token_urlsafe(32)
        self.cookie = f"lexiscope-{port}"
        self._token = _digest(token)
        self._code = _digest(self.code)
        self._session = _digest(secrets.token_urlsafe(32))  # of nobody yet
        self._failures = Failures(clock)

    def __repr__(self) -> str:
        return "Door()"

    def knows(self, headers: Headers, client: str) -> Known:
        """As whom a request comes. An Authorization, where there is one, decides alone."""
        presented = headers.getlist("authorization")
        scheme, _, token = (presented[0] if len(presented) == 1 else "").partition(" ")
        right = _same(token.strip(), self._token) and scheme.lower() == "bearer"
        # A server at another port can set a cookie of the same name beside ours.
        signed_in = sum(_same(value, self._session) for value in self._cookies(headers) or [""]) > 0
        if not presented:
            return Known.BROWSER if signed_in else Known.NOBODY
        if self._failures.wait(client) > 0:
            return Known.TOO_OFTEN
        if right:
            return Known.SCRIPT
        self._failures.add(client)
        return Known.NOBODY

    def sign_in(self, query: bytes, client: str) -> str | None:
        """The value of the cookie for whoever has the link, which is worth nothing from then on; else None."""
        given = parse_qs(query.decode("latin-1"), max_num_fields=8).get("code", [""]) if query.count(b"&") < 8 else [""]
        right = _same(given[0], self._code)
        if self._failures.wait(client) > 0:
            return None
        if not right:
            self._failures.add(client)
            return None
        self._code = _digest(secrets.token_urlsafe(32))
        session = secrets.token_urlsafe(32)
        self._session = _digest(session)
        return session

    def wait(self, client: str) -> int:
        """Seconds until this address may try again."""
        return math.ceil(self._failures.wait(client))

    def _cookies(self, headers: Headers) -> list[str]:
        pairs = (part.strip().partition("=") for line in headers.getlist("cookie") for part in line.split(";"))
        return [value for name, _, value in pairs if name == self.cookie][:_MOST_COOKIES]


def sign_in(door: Door, scope: Scope, headers: Headers, client: str, *, secure: bool) -> Response:
    """The answer to the login link.

    A page that leads on: after a redirect from a link elsewhere, browsers would not send a SameSite=Strict cookie.

    Args:
        secure: whether the page is reached by HTTPS, and the cookie is to be sent by nothing else.
    """
    if door.knows(headers, client) is Known.BROWSER:
        return HTMLResponse(_SIGNED_IN)
    if any(headers.get(name) for name in ("sec-purpose", "purpose", "x-moz")):
        return _FETCHED_AHEAD.answer(scope)
    session = door.sign_in(scope["query_string"], client)
    if session is None:
        wait = door.wait(client)
        return (too_often(wait) if wait else _SPENT).answer(scope)
    answer = HTMLResponse(_SIGNED_IN)
    answer.set_cookie(
        door.cookie,
        session,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )
    return answer


class Failures:
    """Wrong attempts by address: a bucket of ten that leaks one every six seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def add(self, client: str) -> None:
        key, now = _neighbourhood(client), self._clock()
        self._empty_at[key] = max(now, self._empty_at.get(key, now)) + FAILURE_SECONDS
        self._empty_at.move_to_end(key)
        if len(self._empty_at) > _MOST_ADDRESSES:
            self._empty_at.popitem(last=False)

    def wait(self, client: str) -> float:
        """Seconds until there is room for one more; 0 if there is."""
        left = self._empty_at.get(_neighbourhood(client), -math.inf) - self._clock()
        return max(0.0, left - (MOST_FAILURES - 1) * FAILURE_SECONDS)


def _same(presented: str, digest: bytes) -> bool:
    return hmac.compare_digest(_digest(presented[:_MOST_CHARACTERS]), digest)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _neighbourhood(client: str) -> str:
    """One address; of IPv6, where everybody has very many, the network."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))
