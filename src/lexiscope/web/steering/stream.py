"""Stream: texts as they are written, as lines of JSON or whole; who goes away has nothing more written for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from lexiscope.core.errors import LexiscopeError
from lexiscope.web.steering.places import Places
from lexiscope.web.steering.writing import End, Token, Trouble, both

LINES, WHOLE = "application/x-ndjson", "application/json"
Values = Callable[[], Generator[Token | End]]


class Written(Response):
    """Two texts. What goes wrong before the first token is raised; later it is the last line.

    Args:
        begin: begins to write, in a thread.
    """

    media_type = WHOLE

    def __init__(self, places: Places, begin: Values) -> None:
        super().__init__()
        del self.headers["content-length"]  # nobody knows it yet
        self._places, self._begin = places, begin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        wrong: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_they_leave, receive, tasks.cancel_scope)
            try:
                async with self._places.taken():
                    await self._send(send)
            except Exception as error:  # noqa: BLE001 - raised below, where it is not one of a group
                wrong = error
            tasks.cancel_scope.cancel()
        if wrong is not None:
            raise wrong

    async def _send(self, send: Send) -> None:
        async with aclosing(self._values()) as values:
            found = both([value async for value in values])
        await self._start(send)
        await send({"type": "http.response.body", "body": found.model_dump_json().encode()})

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _values(self) -> AsyncGenerator[Token | End]:
        """Each is made in a turn of its own."""
        values = self._begin()
        try:
            while (value := await self._places.turn(lambda: next(values, None))) is not None:
                yield value
        finally:
            values.close()


class Lines(Written):
    """The same as newline-delimited JSON, each token as soon as it is there."""

    media_type = LINES

    async def _send(self, send: Send) -> None:
        begun = False
        try:
            async with aclosing(self._values()) as values:
                async for value in values:
                    if not begun:
                        await self._start(send)
                    begun = True
                    await send(_line(value))
        except LexiscopeError as error:
            if not begun:
                raise
            await send(_line(Trouble(error=f"{error}.")))
        await send({"type": "http.response.body", "body": b""})


def _line(value: Token | End | Trouble) -> Message:
    return {"type": "http.response.body", "body": value.model_dump_json().encode() + b"\n", "more_body": True}


async def _until_they_leave(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
