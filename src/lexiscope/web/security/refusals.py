"""Refusals: a status and a sentence, as JSON where JSON was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope


class Refusal(NamedTuple):
    """Why a request gets no more than this sentence."""

    status: int
    sentence: str
    headers: Mapping[str, str] = MappingProxyType({})

    def answer(self, scope: Scope, *, close: bool = False) -> Response:
        """The answer to a request.

        Args:
            close: whether it is the last on this connection, such as when a body was not read.
        """
        headers = {**self.headers, **({"Connection": "close"} if close else {})}
        if scope["path"].endswith((".json", ".ndjson")):
            return JSONResponse({"error": self.sentence}, status_code=self.status, headers=headers)
        return PlainTextResponse(f"{self.sentence}\n", status_code=self.status, headers=headers)


class RefusedError(Exception):
    """A request turns out to be one to refuse."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal


def too_often(seconds: int) -> Refusal:
    return Refusal(429, f"Too many wrong tokens; wait {seconds} seconds.", {"Retry-After": str(seconds)})
