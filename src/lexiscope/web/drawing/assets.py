"""Assets: the files of the package that pages load. They are read once, so that no address ever becomes a path."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}
"""What the tables of the system must not decide: browsers refuse a module that is not JavaScript."""


class Asset(NamedTuple):
    content: bytes
    media_type: str
    tag: str


def read_assets(folder: Path) -> dict[str, Asset]:
    """Every plain file below a folder, by its address below ``/static/``."""
    return {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name[0] != "."
    }


def serve_asset(assets: Mapping[str, Asset], request: Request) -> Response:
    """The answer to a request for ``/static/{name:path}``.

    Raises:
        HTTPException: there is no file of exactly this name.
    """
    asset = assets.get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    headers = {"ETag": asset.tag}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
