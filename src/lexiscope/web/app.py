"""The app: pages with their JSON and CSV twins, the text endpoint, and errors that help.

Annotations are evaluated in this file, because those of a page's endpoint name its own `read`.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_type_hints

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Route

from lexiscope import __version__
from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.web.actions import ACTIONS
from lexiscope.web.drawing.assets import read_assets, serve_asset
from lexiscope.web.drawing.rendering import STATIC, render
from lexiscope.web.exports.html import EXPORTS
from lexiscope.web.exports.table import CsvResponse
from lexiscope.web.folder.library import Library
from lexiscope.web.jobs.actions import JOB_ACTIONS
from lexiscope.web.jobs.queue import Jobs
from lexiscope.web.pages import pages
from lexiscope.web.pages.common import AnyLibrary
from lexiscope.web.problems import answer, answers, answers_before_lines
from lexiscope.web.reader import MAX_CHARACTERS
from lexiscope.web.security.access import Access
from lexiscope.web.security.guard import Guard
from lexiscope.web.steering.actions import STEERING_ACTIONS, steered, steered_lines
from lexiscope.web.steering.places import Places
from lexiscope.web.steering.stream import Lines
from lexiscope.web.steering.writing import Steered
from lexiscope.web.typed import TypedText, typed_text

DEFAULT_PORT = 8765


def create_app(root: Path | str, *, port: int = DEFAULT_PORT, access: Access | None = None) -> FastAPI:
    """The app that shows the artifacts under a folder.

    Args:
        port: where it will be reached; requests that name another host or port are refused.
        access: in place of a port, all the rules of who is let in. Left out: everybody, on a loopback address.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no folder at {root}; give the folder that your runs are in")
    access = access or Access.at(port=port)
    app = FastAPI(title="Lexiscope", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.library = Library(root, read_only=access.read_only)
    app.state.read_only = access.read_only
    app.state.jobs = Jobs(root)
    app.state.places = Places()
    # The twins first: a name in an address would swallow ".json".
    for page in pages():
        _add(app, f"{page.PATH}.json", _twin_of(page), f"{_name(page)}.json", response_model=_view_of(page))
    for page in pages():
        if hasattr(page, "rows"):
            _add(app, f"{page.PATH}.csv", _csv_of(page), f"{_name(page)}.csv", response_class=CsvResponse)
    for page in pages():
        _add(app, page.PATH, _html_of(page), _name(page), response_class=HTMLResponse)
    _add(app, "/d/{name}/random", random_feature, "random", response_class=RedirectResponse, status_code=303)
    _add(app, "/d/{name}/text.json", type_text, "read_text", methods=["POST"], response_model=TypedText)
    _add(app, "/d/{name}/steered.json", steered, "steered", methods=["POST"], response_model=Steered)
    lines = {"methods": ["POST"], "response_class": Lines, "responses": answers_before_lines()}
    _add(app, "/d/{name}/steered.ndjson", steered_lines, "steered_lines", **lines)
    for path, keep in EXPORTS:
        _add(app, path, keep, keep.__name__, response_class=HTMLResponse)
    for action in (*ACTIONS, *JOB_ACTIONS, *STEERING_ACTIONS):
        does = get_type_hints(action.do)["return"]
        _add(app, action.path, action.do, action.do.__name__, methods=["POST"], response_model=does)
    app.router.routes.append(Route("/static/{name:path}", partial(serve_asset, read_assets(STATIC))))
    for kind in (LexiscopeError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)
    only_reads = [route.path_regex for route in app.routes if isinstance(route, APIRoute) and route.endpoint in READS]
    app.add_middleware(
        Guard, access=access, only_reads=lambda path: any(pattern.fullmatch(path) for pattern in only_reads)
    )
    return app


class Typed(BaseModel):
    """What somebody typed."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=MAX_CHARACTERS, json_schema_extra={"minLength": 1})  # the reader says so better


def type_text(library: AnyLibrary, name: str, typed: Typed) -> TypedText:
    """What a dictionary sees in a text."""
    return typed_text(library.dictionary(name), typed.text)


def random_feature(library: AnyLibrary, name: str) -> RedirectResponse:
    """Off to any feature that fires."""
    index = library.dictionary(name).index
    feature = int(random.choice(index.live_L)) if len(index.live_L) else 0
    return RedirectResponse(f"/d/{name}/features/{feature}", status_code=303)


READS: Sequence[Callable[..., Any]] = (type_text, steered, steered_lines)
"""Endpoints that are sent something and change nothing; in read-only mode they are answered, too."""


def _add(app: FastAPI, path: str, endpoint: Callable[..., Any], name: str, **options: Any) -> None:
    json = path.endswith(".json")
    options = {"methods": ["GET"], "status_code": 200, "responses": answers(json=json), **options}
    app.add_api_route(path, endpoint, operation_id=name, name=name, **options)


def _twin_of(page: ModuleType) -> Callable[..., Any]:
    def twin(view: Annotated[Any, Depends(page.read)]) -> Response:
        return Response(view.model_dump_json(), media_type="application/json")

    twin.__doc__ = page.__doc__
    return twin


def _csv_of(page: ModuleType) -> Callable[..., Any]:
    def csv(view: Annotated[Any, Depends(page.read)]) -> Response:
        return CsvResponse(page.rows(view), _name(page))

    csv.__doc__ = page.__doc__
    return csv


def _html_of(page: ModuleType) -> Callable[..., Any]:
    def html(view: Annotated[Any, Depends(page.read)]) -> HTMLResponse:
        return HTMLResponse(render(page.TEMPLATE, view=view))

    html.__doc__ = page.__doc__
    return html


def _name(page: ModuleType) -> str:
    return page.__name__.rsplit(".", 1)[1]


def _view_of(page: ModuleType) -> Any:
    return get_type_hints(page.read)["return"]
