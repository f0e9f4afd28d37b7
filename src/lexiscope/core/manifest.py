"""manifest.json: its shape, as ``docs/formats.md`` specifies it, and the seal that shows whether a byte has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lexiscope.core.config import describe
from lexiscope.core.disk import json_text
from lexiscope.core.errors import ArtifactError

MANIFEST = "manifest.json"
_SEAL = ',\n "manifest_sha256": '
_REMEDY = "; restore it from a copy, or make the artifact again"


def _inside(name: str) -> str:
    """No file outside the folder: a relative path without ``..``."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError("a file outside the folder")
    return name


class ListedFile(BaseModel):
    """One file of the artifact."""

    bytes: int = Field(ge=0)
    sha256: str


Files = dict[Annotated[str, AfterValidator(_inside)], ListedFile]
"""Every file of the folder but the manifest itself, by its name relative to the folder."""


class _ListedSource(BaseModel):
    """One artifact that it was made from: where it lay then, and its fingerprint."""

    kind: str
    path: str
    fingerprint: str


class _ListedModel(BaseModel):
    """What is said of a language model, where it is said."""

    name: str = ""
    revision: str | None = None
    fingerprint: str = ""
    tokenizer_fingerprint: str = ""


class _ListedCorpus(BaseModel):
    """What is said of a corpus."""

    source: str = ""
    seed: int = 0
    text_column: str = ""
    licences: list[str] = []


class _Sources(BaseModel):
    model: _ListedModel = _ListedModel()
    corpus: _ListedCorpus = _ListedCorpus()


class _Choice(BaseModel):
    value: Any
    reason: str


class Manifest(BaseModel):
    """What every manifest has, and the type of notes that other stages read. Other keys are notes of the kind."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    kind: str
    format_version: int
    fingerprint: str
    created: str
    seed: int | None
    config: dict[str, Any]
    made_from: list[_ListedSource]
    sources: _Sources
    software: dict[str, str]
    files: Files
    heldout_share: float = Field(0.0, ge=0, le=1)
    heldout_tokens: int = 0
    heldout: dict[str, float] = {}
    predictions: dict[str, dict[str, float]] = {}
    choices: dict[str, _Choice] = {}


class CheckpointManifest(BaseModel):
    """What the manifest of a checkpoint has."""

    model_config = ConfigDict(strict=True, extra="forbid")

    number: int = Field(ge=0)
    identity: dict[str, Any]
    values: dict[str, Any]
    draft: list[str]
    files: Files


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, checked for its seal and its shape.

    Raises:
        ArtifactError: no folder, no manifest, or a manifest that is damaged or was not written by Lexiscope.
    """
    if not folder.is_dir():
        raise ArtifactError(f"no folder at {folder}; give the folder of an artifact")
    return _read(folder, Manifest, "a manifest", _REMEDY)


def read_checkpoint_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, checked in the same way.

    Raises:
        ArtifactError: it is missing, damaged, or no checkpoint's; what to do then is up to the caller.
    """
    return _read(folder, CheckpointManifest, "the manifest of a checkpoint", "")


def _read(folder: Path, model: type[BaseModel], what: str, remedy: str) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{folder} holds no {MANIFEST}{remedy}")
    values = read_sealed(folder / MANIFEST, remedy)
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(f"{folder / MANIFEST} is not {what} ({describe(error)}){remedy}") from None
    return values


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """JSON whose last key is the SHA-256 of all bytes before that key's comma."""
    head = json_text(values).removesuffix("\n}\n")
    path.write_text(f"{head}{_SEAL}{_tail(head)}", encoding="utf-8")


def read_sealed(path: Path, remedy: str = _REMEDY) -> dict[str, Any]:
    """What `write_sealed` wrote.

    Args:
        remedy: how the message ends.

    Raises:
        ArtifactError: it can't be read, or a byte of it has changed.
    """
    try:
        head, _, tail = path.read_bytes().decode().rpartition(_SEAL)
        if tail != _tail(head):
            raise ArtifactError(f"{path} is damaged or was edited (its own SHA-256 differs){remedy}")
        return cast(dict[str, Any], json.loads(head + "\n}"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} can't be read ({error}){remedy}") from None


def fingerprint(kind: str, config: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """The identity of an artifact: SHA-256 of what it is, how it was made and what every file holds."""
    canonical = json.dumps([kind, config, files], sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _tail(head: str) -> str:
    return f'"{hashlib.sha256(head.encode()).hexdigest()}"\n}}\n'
