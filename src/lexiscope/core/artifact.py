"""Artifacts: the folders on disk in which stages meet.

An artifact is a folder with a ``manifest.json`` that says what it is, hashes every file in it, and names the artifacts
it was made from. It appears under its final name only when it is complete (`lexiscope.core.draft`).
``docs/formats.md`` is the specification.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lexiscope.core.disk import FileEntry
from lexiscope.core.errors import ArtifactError
from lexiscope.core.manifest import MANIFEST, read_manifest

FORMAT_VERSIONS = {
    "store": 1,
    "sae": 1,
    "scorecard": 1,
    "index": 2,
    "index-part": 1,
    "record": 1,
    "edit": 1,
    "planted": 1,
}
"""Every kind of artifact and the version of its format that this package writes and reads."""
LANDMARKS = {
    "store": "statistics.safetensors",
    "sae": "sae.safetensors",
    "scorecard": "scorecard.json",
    "index": "features/0000000000.parquet",
    "index-part": "part.safetensors",
    "record": "fired/0000.parquet",
    "edit": "edit.toml",
    "planted": "truth.json",
}
"""A file that is nowhere else: where it lies without a manifest, there was an artifact."""


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

    def checked_file(self, name: str) -> Path:
        """Path of a file that the manifest lists, read once to see whether it is what was written.

        Raises:
            ArtifactError: it is not, or the manifest does not list it.
        """
        path = self.file(name)
        try:
            found = FileEntry.of(path)
        except OSError as error:
            raise ArtifactError(f"{path} can't be read ({error.strerror}); check the disk") from None
        if found != FileEntry.listed(self.manifest["files"][name]):
            raise ArtifactError(f"{path} is damaged (its SHA-256 differs); make the {self.kind} again")
        return path

    def source(self, kind: str) -> Mapping[str, Any] | None:
        """The entry of ``made_from`` of this kind: its path when it was read, and its fingerprint."""
        return next((entry for entry in self.manifest["made_from"] if entry["kind"] == kind), None)

    def verify(self) -> None:
        """Hash every file and compare.

        Raises:
            ArtifactError: a file differs from what was written; the message names it.
        """
        for name in self.manifest["files"]:
            self.checked_file(name)


def open_artifact(path: Path | str, kind: str) -> Artifact:
    """Open an artifact of the kind that is needed.

    Raises:
        ArtifactError: not there, not an artifact, of another kind or version, or a file is missing or has another size.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if manifest["kind"] not in FORMAT_VERSIONS:
        raise ArtifactError(f"{path} is a {manifest['kind']!r}, which this version of Lexiscope does not know")
    if manifest["kind"] != kind:
        raise ArtifactError(f"{path} is a {manifest['kind']}, but a {kind} is needed here; give the folder of a {kind}")
    if manifest["format_version"] != FORMAT_VERSIONS[kind]:
        raise ArtifactError(
            f"{path} has format {manifest['format_version']} of a {kind}, this version of Lexiscope reads "
            f"{FORMAT_VERSIONS[kind]}; make it again or install the version that wrote it"
        )
    root = os.path.realpath(path)
    for name, entry in manifest["files"].items():
        if what := FileEntry.listed(entry).trouble(root, name):
            raise ArtifactError(f"{path / name} {what}; make the {kind} again")
    return Artifact(path.absolute(), manifest)


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
