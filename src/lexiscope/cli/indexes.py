"""The index that a path means: its own folder, or a run folder with ``index`` or a single other one in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Index = Annotated[Path, typer.Argument(help="The folder of an index, or of a run that has one.")]


def index_at(path: Path) -> Path:
    """The folder of the index.

    Raises:
        InputError: there is none, or there are several.
    """
    from lexiscope.core.artifact import find_artifacts, open_artifact
    from lexiscope.core.errors import InputError
    from lexiscope.core.manifest import MANIFEST

    if (path / MANIFEST).exists():
        return open_artifact(path, "index").path
    if not path.is_dir():
        raise InputError(f"no folder at {path}; give that of an index, or of a run that has one")
    found = [artifact.path for artifact in find_artifacts(path.absolute()) if artifact.kind == "index"]
    if not found:
        raise InputError(f"{path} holds no index; make one with: lexiscope index SAE")
    if (usual := path.absolute() / "index") in found:
        return usual
    if len(found) > 1:
        some = ", ".join(map(str, found[:3]))
        raise InputError(f"{path} holds {len(found)} indexes; give one of them, such as {some}")
    return found[0]
