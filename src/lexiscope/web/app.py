"""The app: pages and their JSON twins, the text endpoint, and errors that help.

Annotations are evaluated in this file, because those of a page's endpoint name its own `read`.
"""

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.index.feature_index import UnknownFeatureError
from lexiscope.web.guard import Guard
from lexiscope.web.library import Library, UnknownDictionaryError
from lexiscope.web.pages import pages
from lexiscope.web.pages.common import AnyLibrary
from lexiscope.web.reader import MAX_CHARACTERS
from lexiscope.web.rendering import STATIC, render
from lexiscope.web.typed import TypedText, typed_text

DEFAULT_PORT = 8765


def create_app(root: Path | str, *, port: int = DEFAULT_PORT) -> FastAPI:
    """The app that shows the artifacts under a folder.

    Args:
        port: where it will be reached; requests that name another host or port are refused.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no folder at {root}; give the folder that your runs are in")
    app = FastAPI(title="Lexiscope", docs_url=None, redoc_url=None)
    app.state.library = Library(root)
    for page in pages():
        # The twin first: a name in an address would swallow ".json".
        app.add_api_route(f"{page.PATH}.json", _twin_of(page), methods=["GET"])
    for page in pages():
        app.add_api_route(page.PATH, _html_of(page), methods=["GET"], response_class=HTMLResponse)
    app.add_api_route("/d/{name}/random", random_feature, methods=["GET"], response_class=RedirectResponse)
    app.add_api_route("/d/{name}/text.json", type_text, methods=["POST"])
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(LexiscopeError, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    app.add_exception_handler(RequestValidationError, _on_error)
    app.add_middleware(Guard, hosts=[f"{host}:{port}" for host in ("127.0.0.1", "localhost")])
    return app


class Typed(BaseModel):
    """What somebody typed."""

    text: str = Field(max_length=MAX_CHARACTERS)


def type_text(library: AnyLibrary, name: str, typed: Typed) -> TypedText:
    return typed_text(library.dictionary(name), typed.text)


def random_feature(library: AnyLibrary, name: str) -> RedirectResponse:
    """Off to any feature that fires."""
    index = library.dictionary(name).index
    feature = random.choice(index.live() or [0])
    return RedirectResponse(f"/d/{name}/features/{feature}", status_code=303)


def _twin_of(page: ModuleType) -> Callable[..., Any]:
    def twin(view: Annotated[Any, Depends(page.read)]) -> Response:
        return Response(view.model_dump_json(), media_type="application/json")

    return twin


def _html_of(page: ModuleType) -> Callable[..., Any]:
    def html(view: Annotated[Any, Depends(page.read)]) -> HTMLResponse:
        return HTMLResponse(render(page.TEMPLATE, view=view))

    return html


def _on_error(request: Request, error: Exception) -> Response:
    status, sentence = _explain(error)
    if request.url.path.endswith(".json"):
        return JSONResponse({"error": sentence}, status_code=status)
    return HTMLResponse(render("error.html", status=status, sentence=sentence), status_code=status)


def _explain(error: Exception) -> tuple[int, str]:
    """Status and sentence of an error."""
    if isinstance(error, UnknownDictionaryError | UnknownFeatureError):
        return 404, f"{error}."
    if isinstance(error, InputError):
        return 422, f"{error}."
    if isinstance(error, HTTPException):
        return error.status_code, "There is no page at this address." if error.status_code == 404 else error.detail
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return 422, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg'].lower()}."
    return 500, str(error)
