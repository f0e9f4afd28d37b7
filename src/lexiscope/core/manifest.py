"""The shape of a manifest.json, as ``docs/formats.md`` specifies it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _inside(name: str) -> str:
    """No file outside the folder: a relative path without ``..``."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError("a file outside the folder")
    return name


class FileEntry(BaseModel):
    """One file of the artifact."""

    bytes: int = Field(ge=0)
    sha256: str


class SourceEntry(BaseModel):
    """One artifact that it was made from: where it lay then, and its fingerprint."""

    kind: str
    path: str
    fingerprint: str


class Manifest(BaseModel):
    """What every manifest has. Other keys are notes of the kind."""

    model_config = ConfigDict(strict=True, extra="allow")

    kind: str
    format_version: int
    fingerprint: str
    created: str
    seed: int | None
    config: dict[str, Any]
    made_from: list[SourceEntry]
    sources: dict[str, Any]
    software: dict[str, str]
    files: dict[Annotated[str, AfterValidator(_inside)], FileEntry]
