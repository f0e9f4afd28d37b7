"""Connections: what one may cost, so that many that say nothing, or half of something, keep nobody else waiting.

uvicorn waits for the rest of a request, and for somebody to read an answer, as long as the other side likes. Here both
end: headers have to be whole after ten seconds, answers have to be taken after twenty, and where there are too many
connections the one that has said nothing for longest gives way. (Bodies are the guard's.)
"""

from __future__ import annotations

import asyncio
import resource

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lexiscope.web.security.guard import POLICY

HEADER_SECONDS = 10.0
STALL_SECONDS = 20.0
MAX_CONNECTIONS = 512


def most_connections() -> int:
    """At most half of the descriptors that this process may have."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if allowed == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, allowed // 2))


class Connection(H11Protocol):
    """An HTTP/1.1 connection with an end."""

    silent_since = 0.0
    """When it was opened or last answered, by the clock of the loop."""
    _headers_due: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether the headers of a request are whole, and it has no answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def silent(self) -> bool:
        """Whether a request, or its body, is still to come."""
        return not self.busy or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # every answer that does not go out at once is noticed
        self.silent_since = self.loop.time()
        self._headers_due = self.loop.call_later(HEADER_SECONDS, transport.abort)
        if len(self.connections) > most_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._headers_due)
        self._headers_due = None
        super().connection_lost(exc)
        _cancel(self._stalled)
        self._stalled = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.busy:
            _cancel(self._headers_due)
            self._headers_due = None
        elif self._headers_due is None:
            self._headers_due = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """The answer to what is not HTTP, which never comes as far as the guard."""
        policy = [(name.lower().encode(), value.encode()) for name, value in POLICY.items()]
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *policy]
        parts = (h11.Response(status_code=400, headers=headers), h11.Data(data=msg.encode("ascii")), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        self.transport.close()

    def on_response_complete(self) -> None:
        self.silent_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        _cancel(self._stalled)
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._stalled)
        self._stalled = None
        super().resume_writing()

    def _make_room(self) -> None:
        there = [other for other in self.connections if isinstance(other, Connection)]
        there = [other for other in there if not other.transport.is_closing()]
        if len(there) > most_connections():
            min((other for other in there if other.silent), key=lambda other: other.silent_since).transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
