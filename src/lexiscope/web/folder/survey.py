"""Survey: everything under a folder, whole or not, and work that was interrupted.

Only manifests and the sizes of files are looked at; `lexiscope verify` reads the bytes.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lexiscope.core.artifact import FORMAT_VERSIONS, LANDMARKS, Artifact, open_artifact
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.lock import LOCK
from lexiscope.core.manifest import MANIFEST, read_checkpoint_manifest
from lexiscope.core.places import artifact_manifest
from lexiscope.web.view import View

State = Literal["whole", "damaged", "other version", "missing"]
_MARKS = {MANIFEST, *LANDMARKS.values()}
_MOST_QUOTED = 400


class Unfinished(View):
    """Work that was interrupted, or that goes on right now."""

    path: str
    """What it will be called, relative to the folder that is shown."""
    kind: str
    step: int | None
    """Of the newest checkpoint; None: it starts again."""
    running: bool


class Found(NamedTuple):
    """One folder that is, or was, an artifact."""

    path: Path
    artifact: Artifact | None
    manifest: Mapping[str, Any]
    """As far as it can be read."""
    state: State
    remark: str


class Survey(NamedTuple):
    """What lies under a folder, in order of path."""

    found: list[Found]
    unfinished: list[Unfinished]


def look(root: Path) -> Survey:
    """Everything under a folder. What can't be read, what is hidden, and where links lead, is left out."""
    found, unfinished = [], []
    for parent, folders, files in os.walk(root):
        folder = Path(parent)
        if _MARKS & set(files):
            found.append(_look_at(folder))
            folders.clear()
            continue
        unfinished += [_unfinished(folder / name, root) for name in folders if _is_work(name)]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return Survey(found, sorted(unfinished, key=lambda work: work.path))


def _look_at(folder: Path) -> Found:
    folder = folder.absolute()
    try:
        manifest = artifact_manifest(folder)
    except ArtifactError as error:
        return Found(folder, None, {}, "damaged", _sentence(error))
    known = FORMAT_VERSIONS.get(manifest["kind"])
    try:
        return Found(folder, open_artifact(folder, manifest["kind"]), manifest, "whole", "")
    except ArtifactError as error:
        state: State = "damaged" if manifest["format_version"] == known else "other version"
        return Found(folder, None, manifest, state, _sentence(error))


def _unfinished(work: Path, root: Path) -> Unfinished:
    final = work.with_name(work.name[1 : -len(".work")])
    try:
        numbers = [int(path.name) for path in (work / "checkpoints").iterdir() if path.name.isdecimal()]
    except OSError:
        numbers = []
    kind = "artifact"
    if numbers:
        newest = max((work / "checkpoints").iterdir(), key=lambda path: path.name)
        try:
            kind = str(read_checkpoint_manifest(newest)["identity"].get("kind", kind))
        except (InputError, OSError):
            kind = "artifact"  # the run goes on from an older one, or starts again
    return Unfinished(
        path=words(final.relative_to(root)),
        kind=kind,
        step=max(numbers, default=None),
        running=_is_running(work),
    )


def _is_running(work: Path) -> bool:
    """Whether the process that a lock names is alive on this machine. The lock itself is not touched."""
    try:
        process, host = json.loads((work / LOCK).read_bytes()[:1024])
        if host != socket.gethostname() or not 0 < int(process) < 2**31:
            return False
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError):
        return False
    return True


def _is_work(name: str) -> bool:
    return name.startswith(".") and name.endswith(".work")


def _sentence(error: Exception) -> str:
    text = one_line(str(error), _MOST_QUOTED)
    return f"{text[:1].upper()}{text[1:]}."


def words(path: Path) -> str:
    """A path that may have bytes in it which are no text."""
    return one_line(os.fsencode(path).decode("utf-8", "backslashreplace"), _MOST_QUOTED)
