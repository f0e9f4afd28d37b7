"""Guard: what every request and response must satisfy, whatever page it is for.

The app shows text from anywhere and runs on people's own machines, so a web site that is open in the same browser must
not be able to read it (DNS rebinding: the Host header is compared exactly) or to use it (Origin and Sec-Fetch-Site are
checked on every POST), and nothing that the app shows may run or load anything (Content-Security-Policy).
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 64 * 1024

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Guard:
    """ASGI middleware around the app.

    Args:
        hosts: the values of Host that are answered, each ``name:port``.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # The app has no websockets; "lifespan" passes.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = PlainTextResponse(refusal[1], status_code=refusal[0]) if refusal else self._app

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        """Status and sentence if the request is not to be answered."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 400, f"This app answers at {' and '.join(sorted(self._hosts))} only.\n"
        if method in {"GET", "HEAD"}:
            return None
        if method != "POST":
            return 405, "Only GET, HEAD and POST are answered.\n"
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin != f"http://{hosts[0]}":
            return 403, "Requests from other sites are not answered.\n"
        if site is not None and site != "same-origin":
            return 403, "Requests from other sites are not answered.\n"
        if headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return 415, "Send application/json.\n"
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            return 411, "Send a Content-Length.\n"
        if int(length) > MAX_BODY_BYTES:
            return 413, f"Send at most {MAX_BODY_BYTES} bytes.\n"
        return None
