"""Stream: values as lines of JSON, each sent when it is there; whoever made them is told when nobody reads any more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lexiscope.core.errors import LexiscopeError
from lexiscope.web.steering.writing import Trouble

MEDIA = "application/x-ndjson"


class Lines(StreamingResponse):
    """Newline-delimited JSON. What goes wrong before the first value is raised; later it is the last line."""

    media_type = MEDIA

    def __init__(self, values: Generator[BaseModel]) -> None:
        first = next(values)
        self._values = values
        self._lines = self._sent(first)
        super().__init__(self._lines)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Also where sending was called off between two values, when nobody asks for the next one.
            await self._lines.aclose()
            self._values.close()

    async def _sent(self, first: BaseModel) -> AsyncGenerator[str]:
        value: BaseModel | None = first
        while value is not None:
            yield value.model_dump_json() + "\n"
            try:
                value = await run_in_threadpool(next, self._values, None)
            except LexiscopeError as error:
                yield Trouble(error=f"{error}.").model_dump_json() + "\n"
                return
