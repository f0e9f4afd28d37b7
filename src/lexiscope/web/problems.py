"""Problems: errors as answers, a page to people and a typed sentence to programs."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from lexiscope.core.errors import InputError, one_line
from lexiscope.index.feature_index import UnknownFeatureError
from lexiscope.index.live.near_misses import NoNearMissesError
from lexiscope.web.drawing.rendering import render
from lexiscope.web.folder.library import UnknownDictionaryError
from lexiscope.web.jobs.job import BusyError, UnknownJobError
from lexiscope.web.steering.kept import UnknownEditError
from lexiscope.web.steering.places import FullError
from lexiscope.web.view import View

_WHEN = {
    400: "The request names another host, or is broken.",
    401: "Nobody is signed in, and there is no token.",
    403: "The request comes from another site, or would change what is read-only.",
    404: "There is nothing at this address.",
    405: "This method is not answered here.",
    408: "The body did not come in time.",
    409: "Something is under way that this has to wait for.",
    413: "The body is too large.",
    414: "The address is too long.",
    415: "The body is not JSON.",
    422: "What was asked for can't be; the sentence says why.",
    429: "Too many wrong tokens.",
    431: "The headers are too large.",
    500: "Lexiscope failed.",
    503: "Too many others ask for the same; the sentence says when to try again.",
}


_NOT_THERE = (UnknownDictionaryError, UnknownFeatureError, UnknownJobError, UnknownEditError, NoNearMissesError)


class Problem(View):
    """Why there is no answer."""

    error: str
    """A sentence for people."""


def answers(*, json: bool) -> dict[int | str, dict[str, Any]]:
    """What a route may answer when something is wrong, for its description."""
    if json:
        return {status: {"model": Problem, "description": when} for status, when in _WHEN.items()}
    content: dict[str, Any] = {media: {"schema": {"type": "string"}} for media in ("text/html", "text/plain")}
    return {status: {"content": content, "description": when} for status, when in _WHEN.items()}


def answers_before_lines() -> dict[int | str, dict[str, Any]]:
    """The same for a route that answers line by line, but whose errors are one sentence as elsewhere."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": when, "content": {"application/json": {"schema": schema}}}
        for status, when in _WHEN.items()
    }


def answer(request: Request, error: Exception) -> Response:
    """The answer to an error, at an address of the app."""
    status, sentence = explain(error)
    headers = error.headers if isinstance(error, HTTPException) else None
    if request.url.path.endswith((".json", ".ndjson")):
        return JSONResponse({"error": sentence}, status_code=status, headers=headers)
    return HTMLResponse(render("error.html", status=status, sentence=sentence), status_code=status, headers=headers)


def explain(error: Exception) -> tuple[int, str]:
    """Status and sentence of an error. What it quotes is from the request, and may hold anything."""
    if isinstance(error, _NOT_THERE):
        return 404, f"{error}."
    if isinstance(error, FullError):
        return 503, f"{error}."
    if isinstance(error, BusyError):
        return 409, f"{error}."
    if isinstance(error, InputError):
        return 422, f"{error}."
    if isinstance(error, HTTPException):
        return error.status_code, "There is no page at this address." if error.status_code == 404 else error.detail
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return 422, one_line(f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg'].lower()}.", 300)
    return 500, str(error)
