"""Artifacts: the folders on disk in which stages meet.

An artifact is a folder with a ``manifest.json`` that says what it is, hashes every file in it, and names the artifacts
it was made from. It appears under its final name only when it is complete: files are written to a hidden sibling
folder, flushed to disk, and the folder is renamed. ``docs/formats.md`` is the specification.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from lexiscope.core.config import describe
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.manifest import Manifest

MANIFEST = "manifest.json"
FORMAT_VERSIONS = {"store": 1, "sae": 1, "scorecard": 1, "index": 1}
"""Every kind of artifact and the version of its format that this package writes and reads."""

_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"


@dataclass(frozen=True)
class Artifact:
    """A complete artifact on disk."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return cast(str, self.manifest["kind"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over kind, config and the hashes of all files: two artifacts with the same bytes share it."""
        return cast(str, self.manifest["fingerprint"])

    @property
    def config(self) -> Mapping[str, Any]:
        return cast(Mapping[str, Any], self.manifest["config"])

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists.

        Raises:
            ArtifactError: the manifest does not list it.
        """
        if name not in self.manifest["files"]:
            raise ArtifactError(f"{self.path}: the manifest lists no file {name!r}; make the {self.kind} again")
        return self.path / name

    def source(self, kind: str) -> Mapping[str, Any] | None:
        """The entry of ``made_from`` of this kind: its path when it was read, and its fingerprint."""
        return next((entry for entry in self.manifest["made_from"] if entry["kind"] == kind), None)

    def verify(self) -> None:
        """Hash every file and compare.

        Raises:
            ArtifactError: a file differs from what was written; the message names it.
        """
        for name, expected in self.manifest["files"].items():
            if hash_file(self.path / name) != expected["sha256"]:
                raise ArtifactError(f"{self.path / name} is damaged (its SHA-256 differs); make the {self.kind} again")


@dataclass
class Draft:
    """A folder being written. ``notes`` go into the manifest as they are."""

    path: Path
    notes: dict[str, Any] = field(default_factory=dict)


@contextmanager
def write_artifact(
    out: Path | str,
    kind: str,
    *,
    config: Mapping[str, Any],
    seed: int | None = None,
    made_from: Sequence[Artifact] = (),
    sources: Mapping[str, Any] | None = None,
) -> Iterator[Draft]:
    """Write an artifact: fill the folder that is given; it gets its final name when the block ends without an error.

    Args:
        out: the final folder; it must not exist (or be empty).
        config: the resolved settings, ready for JSON.
        made_from: artifacts that were read.
        sources: what else it was made from: model, tokenizer and corpus with their hashes, revisions and licences.

    Raises:
        InputError: ``out`` is taken, or can't be written.
    """
    out = Path(out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; choose another --out or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out)
        partial = out.with_name(f".{out.name}.partial-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}")
        partial.mkdir()
    except OSError as error:
        raise InputError(f"can't write to {out.parent}: {error.strerror}; choose another --out") from None
    draft = Draft(partial)
    try:
        yield draft
        files = {
            path.relative_to(partial).as_posix(): {"bytes": path.stat().st_size, "sha256": hash_file(path)}
            for path in sorted(partial.rglob("*"))
            if path.is_file()
        }
        manifest: dict[str, Any] = {
            "kind": kind,
            "format_version": FORMAT_VERSIONS[kind],
            "fingerprint": _fingerprint(kind, config, files),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": seed,
            "config": config,
            "made_from": [
                {"kind": item.kind, "path": str(item.path), "fingerprint": item.fingerprint} for item in made_from
            ],
            "sources": sources or {},
            "software": software(),
            **draft.notes,
            "files": files,
        }
        write_json(partial / MANIFEST, manifest)
        for path in partial.rglob("*"):
            _flush(path)
        _flush(partial)
        try:
            partial.rename(out)  # takes the place of an empty folder
        except OSError:
            raise InputError(f"{out} was made by another run meanwhile; choose another --out or remove it") from None
        _flush(out.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def open_artifact(path: Path | str, kind: str) -> Artifact:
    """Open an artifact of the kind that is needed.

    Raises:
        ArtifactError: not there, not an artifact, of another kind or version, or a file is missing or has another size.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if manifest["kind"] != kind:
        raise ArtifactError(f"{path} is a {manifest['kind']}, but a {kind} is needed here; give the folder of a {kind}")
    if manifest["format_version"] != FORMAT_VERSIONS[kind]:
        raise ArtifactError(
            f"{path} has format {manifest['format_version']} of a {kind}, this version of Lexiscope reads "
            f"{FORMAT_VERSIONS[kind]}; make it again or install the version that wrote it"
        )
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing; make the {kind} again")
        if file.stat().st_size != expected["bytes"]:
            raise ArtifactError(f"{file} is truncated or changed (its size differs); make the {kind} again")
    return Artifact(path.absolute(), manifest)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a folder, checked for shape.

    Raises:
        ArtifactError: no folder, no manifest, or a manifest that was not written by Lexiscope.
    """
    if not path.is_dir():
        raise ArtifactError(f"no folder at {path}")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        Manifest.model_validate(manifest)
    except FileNotFoundError:
        raise ArtifactError(f"{path} holds no {MANIFEST}, so it is no Lexiscope artifact") from None
    except ValidationError as error:
        raise ArtifactError(f"{path / MANIFEST} is not a manifest: {describe(error)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path / MANIFEST} can't be read: {error}") from None
    if manifest["kind"] not in FORMAT_VERSIONS:
        raise ArtifactError(f"{path} is a {manifest['kind']!r}, which this version of Lexiscope does not know")
    return cast(dict[str, Any], manifest)


def find_artifacts(root: Path) -> Iterator[Artifact]:
    """Every complete artifact in a folder and its subfolders, in order of path; damaged ones are left out."""
    for manifest in sorted(root.rglob(MANIFEST)):
        folder = manifest.parent
        if any(part.startswith(".") for part in folder.relative_to(root).parts):
            continue
        try:
            yield open_artifact(folder, read_manifest(folder)["kind"])
        except ArtifactError:
            continue


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Plain, stable JSON: keys in the order given, no NaN."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def software() -> dict[str, str]:
    """Versions that a reader needs to make the same again."""
    import torch

    from lexiscope import __version__

    return {"lexiscope": __version__, "python": sys.version.split()[0], "torch": torch.__version__}


def _fingerprint(kind: str, config: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    canonical = json.dumps([kind, config, files], sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _remove_leftovers(out: Path) -> None:
    """What runs that were killed left of this artifact: folders of processes of this machine that are no more."""
    start = f".{out.name}.partial-{_HOST}-"
    for folder in out.parent.iterdir():
        process = folder.name.removeprefix(start).partition("-")[0]
        if folder.name.startswith(start) and process.isdecimal() and not _is_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # asking would end it there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
