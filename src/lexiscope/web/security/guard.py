"""Guard: what every request and response must satisfy, whatever page it is for. docs/security.md says why.

The app shows text from anywhere and runs on people's own machines, so a web site that is open in the same browser must
not be able to read it (DNS rebinding: the Host header is compared exactly), to use it (Origin and Fetch Metadata are
checked on every request), or to change anything through it, and nothing that the app shows may run or load anything
(Content-Security-Policy). The rules stand in the order in which they are asked; the first that is broken answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lexiscope.web.security.access import Access
from lexiscope.web.security.login import Known, sign_in
from lexiscope.web.security.refusals import Refusal, RefusedError, too_often

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 10.0
"""A body that is not whole by then is not waited for."""
MAX_URL_BYTES = 4096
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 64

READING = frozenset({"GET", "HEAD"})
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
LOGIN = "/login"

POLICY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_OTHER_SITE = "Requests from other sites are not answered."
_log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware around the app.

    Args:
        access: who is let in, and whether anything may be changed.
        only_reads: whether a POST to this path changes nothing, so that it is answered in read-only mode, too.
    """

    def __init__(self, app: ASGIApp, access: Access, only_reads: Callable[[str], bool] = lambda _: False) -> None:
        self._app = app
        self._access = access
        self._only_reads = only_reads
        self._always = {**POLICY, "Cache-Control": "no-store" if access.door else "no-cache"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # The app has no websockets; "lifespan" passes.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(self._always)
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal:
            # The body was not read, so nothing can follow on this connection.
            await refusal.answer(scope, close=scope["method"] not in READING)(scope, receive, send_guarded)
            return
        if self._access.door and _is_login(scope):
            secure = self._access.origins[headers["host"]].startswith("https:")
            answer = sign_in(self._access.door, scope, headers, _client(scope), secure=secure)
            await answer(scope, receive, send_guarded)
            return
        try:
            body = await _whole_body(receive) if scope["method"] in CHANGING else b""
        except RefusedError as refused:
            await refused.refusal.answer(scope, close=True)(scope, receive, send_guarded)
            return
        except ClientDisconnect:
            return
        as_read = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            await self._app(as_read, _given(body, receive), send_guarded)
        except Exception:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            # Headers stay out of what is logged: they may hold the token.
            _log.exception("%s %s", scope["method"], scope["path"])
            if not started:
                crash = Refusal(500, "Lexiscope failed here; the terminal that it runs in says how.")
                await crash.answer(scope, close=True)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Status and sentence if the request is not to be answered."""
        method = scope["method"]
        return (
            self._wrong_address(headers)
            or _too_long(scope, headers)
            or _unknown_method(method)
            or self._from_another_site(method, headers)
            or self._stranger(scope, headers)
            or self._change_to_what_is_read_only(method, scope["path"])
            or _wrong_body(method, headers)
        )

    def _wrong_address(self, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) == 1 and hosts[0] in self._access.origins:
            return None
        return Refusal(400, f"This app answers at {' and '.join(sorted(self._access.origins))} only.")

    def _from_another_site(self, method: str, headers: Headers) -> Refusal | None:
        """A link elsewhere may lead to a page; apart from that, only our own pages and programs may ask."""
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if origins and origins != [self._access.origins[headers["host"]]]:
            return Refusal(403, _OTHER_SITE)
        if sites in ([], ["same-origin"]):
            return None
        how = headers.getlist("sec-fetch-mode") + headers.getlist("sec-fetch-dest")
        followed = sites in (["cross-site"], ["same-site"]) and how == ["navigate", "document"]
        typed = sites == ["none"]
        return None if method in READING and (typed or followed) else Refusal(403, _OTHER_SITE)

    def _stranger(self, scope: Scope, headers: Headers) -> Refusal | None:
        door, client = self._access.door, _client(scope)
        if door is None or _is_login(scope):
            return None
        known = door.knows(headers, client)
        if known is Known.TOO_OFTEN:
            return too_often(door.wait(client))
        if known is Known.NOBODY:
            return Refusal(
                401,
                "Sign in with the link that Lexiscope printed when it was started; programs send the token as "
                "Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )
        named = headers.getlist("origin") or headers.getlist("sec-fetch-site")
        if known is Known.BROWSER and scope["method"] in CHANGING and not named:
            # Every browser says where a change comes from.
            return Refusal(403, "Send an Origin with the cookie, or the token in place of it.")
        return None

    def _change_to_what_is_read_only(self, method: str, path: str) -> Refusal | None:
        if not self._access.read_only or method in READING or (method == "POST" and self._only_reads(path)):
            return None
        return Refusal(403, "This Lexiscope is read-only: it was started with --read-only, and nothing can be changed.")


_TOO_LARGE = Refusal(413, f"Send at most {MAX_BODY_BYTES} bytes.")


def _is_login(scope: Scope) -> bool:
    return (scope["method"], scope["path"]) == ("GET", LOGIN)


def _too_long(scope: Scope, headers: Headers) -> Refusal | None:
    url = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if url > MAX_URL_BYTES:
        return Refusal(414, f"Send an address of at most {MAX_URL_BYTES} bytes.")
    if len(headers.raw) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
        return Refusal(431, f"Send at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together.")
    return None


def _unknown_method(method: str) -> Refusal | None:
    if method in READING | CHANGING:
        return None
    return Refusal(405, f"Only {_METHODS} are answered.", {"Allow": _METHODS})


_METHODS = ", ".join([*sorted(READING), *sorted(CHANGING)])


def _wrong_body(method: str, headers: Headers) -> Refusal | None:
    length = headers.get("content-length", "0")
    if method in READING:
        empty = length == "0" and "transfer-encoding" not in headers
        return None if empty else Refusal(400, f"{method} has no body.", {"Connection": "close"})
    # Forms and scripts of other sites can send some types without asking first, but not this one.
    if [value.split(";")[0].strip().lower() for value in headers.getlist("content-type")] != ["application/json"]:
        return Refusal(415, "Send application/json.")
    if not (length.isascii() and length.isdecimal()):
        return Refusal(400, "Content-Length is not a number.")
    return _TOO_LARGE if len(length) > 9 or int(length) > MAX_BODY_BYTES else None


async def _whole_body(receive: Receive) -> bytes:
    """The body of a request.

    Raises:
        RefusedError: it is too large, however it is sent, or does not come.
        ClientDisconnect: whoever sent it went away in the middle.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise RefusedError(_TOO_LARGE)
                more = message.get("more_body", False)
    except TimeoutError:
        sentence = f"The body of the request did not come within {BODY_SECONDS:g} seconds."
        raise RefusedError(Refusal(408, sentence)) from None
    return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """A receive that has the body already."""
    given = False

    async def receive_given() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_given


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
