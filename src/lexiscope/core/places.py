"""Places: where in a folder artifacts lie, whole or not, and checkpoints. Links and odd names do no harm here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lexiscope.core.artifact import LANDMARKS
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.manifest import MANIFEST, read_manifest


def folders_in(path: Path) -> Iterator[Path]:
    """Every artifact in a folder, whole or not; the checkpoints of unfinished work. What is hidden is left out."""
    if _is_work(Path(os.path.realpath(path))):
        path = path / "checkpoints"
        if not is_folder(path):
            return
    if _is_there(path):
        yield path
        return
    for parent, folders, _ in os.walk(path, onerror=_refuse):
        kept = []
        for name in sorted(folders):
            folder = Path(parent, name)
            if name.startswith("."):
                continue
            if _is_there(folder):
                yield folder
            else:
                kept.append(name)
        folders[:] = kept


def _is_there(folder: Path) -> bool:
    """Whether an artifact or a checkpoint is here, or was."""
    return _exists(folder / MANIFEST) or is_checkpoint(folder) or was_artifact(folder)


def is_checkpoint(folder: Path) -> bool:
    real = Path(os.path.realpath(folder))
    return real.name.isdecimal() and real.parent.name == "checkpoints" and _is_work(real.parent.parent)


def _is_work(folder: Path) -> bool:
    return folder.name.startswith(".") and folder.name.endswith(".work")


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def was_artifact(folder: Path) -> bool:
    """Whether files of an artifact lie here that has lost its manifest, or whose manifest can't be used."""
    if _exists(folder / MANIFEST):
        try:
            artifact_manifest(folder)
        except ArtifactError:
            return True
        return False
    return any(_exists(folder / name) for name in LANDMARKS.values())


def artifact_manifest(folder: Path) -> dict[str, Any]:
    """Raises ArtifactError, whatever the trouble."""
    try:
        return read_manifest(folder)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder / MANIFEST} can't be read: {error}") from None


def names_in(folder: Path) -> set[str]:
    """Every file, and every link to a folder, by its name relative to the folder."""
    names = set()
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names |= {Path(parent, name).relative_to(folder).as_posix() for name in (*files, *links)}
    return names


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} can't be read ({error.strerror}); allow reading it, or name other folders")
