"""verify: is every byte of an artifact what was written, and of all that it was made from?

Manifests first (their seals, their fingerprints, which files there are and how long), then every file is read once.
Nothing is changed. What an artifact was made from is looked for where it lay, and around the artifact: a run folder may
have been moved.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lexiscope.core.disk import FileEntry
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.manifest import MANIFEST, fingerprint, read_checkpoint_manifest
from lexiscope.core.places import artifact_manifest, folders_in, is_checkpoint, is_folder, names_in, was_artifact
from lexiscope.core.progress import SILENT, Progress, Task
from lexiscope.core.sqlite import database_trouble, notes_beside

CHECKPOINT = "checkpoint"
NOTES = "notes"


class Problem(NamedTuple):
    """Something is not what was written."""

    path: Path
    sentence: str
    """What, and what to do about it."""


@dataclass
class Finding:
    """What was found out about one folder, or about the notes beside an index.

    Attributes:
        kind: of the artifact, "checkpoint" or "notes"; None if nobody can tell any more.
        num_bytes: of the files that were read.
        notes: what could not be checked.
    """

    path: Path
    kind: str | None = None
    fingerprint: str | None = None
    num_files: int = 0
    num_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.problems

    @property
    def remedy(self) -> str:
        if self.kind == CHECKPOINT:
            return f"remove {self.path}, the run goes on from an older one"
        if self.kind == NOTES:
            return "restore it from a copy, or move it away"
        return f"restore it from a copy, or make the {self.kind or 'artifact'} again"

    def report(self, path: Path, what: str, remedy: str | None = None) -> None:
        """Add a problem."""
        self.problems.append(Problem(path, f"{path} {what}; {remedy or self.remedy}"))

    def summary(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "path": _text(self.path),
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "whole": self.whole,
            "files": self.num_files,
            "bytes": self.num_bytes,
            "problems": [{"path": _text(path), "problem": one_line(said)} for path, said in self.problems],
            "notes": [one_line(note) for note in self.notes],
        }


def verify(paths: Sequence[Path | str], *, progress: Progress = SILENT) -> list[Finding]:
    """Check artifacts, folders of artifacts or unfinished work, and everything they were made from.

    Returns:
        One finding per folder: what was asked for in order of path, then what it was made from.

    Raises:
        InputError: a path is no folder, or has nothing in it that could be checked.
    """
    survey = _Survey()
    for path in map(Path, paths):
        if not is_folder(path):
            raise InputError(f"no folder at {path}; give the folder of an artifact, or one with artifacts in it")
        if not (folders := list(folders_in(path))):
            raise InputError(f"nothing to verify in {path}: it holds no artifact and no checkpoint")
        survey.add(folders)
    survey.look()
    survey.read(progress)
    return [found for found in survey.findings if found.kind != CHECKPOINT or is_folder(found.path)]


def check_file(path: Path, entry: FileEntry, task: Task | None = None) -> str | None:
    """What is wrong with the content of a file."""
    try:
        found = FileEntry.of(path, None if task is None else lambda count: task.advance(count / 1e6))
    except OSError as error:
        return f"can't be read ({error.strerror})"
    return None if found == entry else "is damaged (its SHA-256 differs)"


class _Job(NamedTuple):
    finding: Finding
    name: str
    entry: FileEntry


class _Survey:
    """Folders to look at, what was found, and files to read."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._waiting: deque[Path] = deque()
        self._seen: set[str] = set()
        self._jobs: list[_Job] = []
        self._fingerprints: dict[Path, str | None] = {}
        self._around: dict[Path, list[Path]] = {}

    def add(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            if (real := os.path.realpath(folder)) not in self._seen:
                self._seen.add(real)
                self._waiting.append(folder)

    def look(self) -> None:
        """At the manifests of all folders, and of all that these were made from."""
        while self._waiting:
            finding = Finding(self._waiting.popleft())
            self.findings.append(finding)
            try:
                values = self._manifest(finding)
            except ArtifactError as error:
                what = f"{error}; {finding.remedy}" if finding.kind == CHECKPOINT else str(error)
                finding.problems.append(Problem(finding.path / MANIFEST, what))
                continue
            self._compare_files(finding, values["files"])
            if finding.kind == "index":
                self._find_notes(finding.path)
            for source in values.get("made_from", ()):
                self._find_source(finding, source)

    def read(self, progress: Progress) -> None:
        """Every file."""
        notes = [finding for finding in self.findings if finding.kind == NOTES]
        total = (sum(job.entry.bytes for job in self._jobs) + sum(found.num_bytes for found in notes)) / 1e6
        with progress.task("Verifying", total, "MB") as task:
            for finding, name, entry in self._jobs:
                if what := check_file(finding.path / name, entry, task):
                    finding.report(finding.path / name, what)
            for finding in notes:
                if what := database_trouble(finding.path):
                    finding.report(finding.path, what)
                task.advance(finding.num_bytes / 1e6)

    def _manifest(self, finding: Finding) -> Mapping[str, Any]:
        """The manifest of a folder, with what it says of itself entered in the finding.

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        if is_checkpoint(finding.path):
            finding.kind = CHECKPOINT
            values = read_checkpoint_manifest(finding.path)
            if values["number"] != int(os.path.realpath(finding.path).rpartition(os.sep)[2]):
                finding.report(finding.path / MANIFEST, f"belongs to checkpoint {values['number']}")
            return values
        values = artifact_manifest(finding.path)
        finding.kind, finding.fingerprint = values["kind"], values["fingerprint"]
        if fingerprint(values["kind"], values["config"], values["files"]) != finding.fingerprint:
            finding.report(finding.path / MANIFEST, "was edited: the fingerprint in it is not its own")
        return values

    def _compare_files(self, finding: Finding, listed: Mapping[str, Mapping[str, Any]]) -> None:
        """Names and sizes."""
        root = os.path.realpath(finding.path)
        if (finding.path / MANIFEST).is_symlink():
            finding.report(finding.path / MANIFEST, "is a link", "put the file itself there")
        for name, values in listed.items():
            entry = FileEntry.listed(values)
            if what := entry.trouble(root, name):
                finding.report(finding.path / name, what)
                continue
            self._jobs.append(_Job(finding, name, entry))
            finding.num_files += 1
            finding.num_bytes += entry.bytes
        folders = {str(folder) for name in listed for folder in PurePosixPath(name).parents}
        for name in sorted(names_in(finding.path) - listed.keys() - folders - {MANIFEST}):
            finding.report(finding.path / name, "is not in the manifest", "move it out of the folder")

    def _find_notes(self, index: Path) -> None:
        """What people and models wrote lies beside an index and is no part of it: it may change."""
        path = notes_beside(index)
        if os.path.lexists(path) and (real := os.fspath(path)) not in self._seen:
            self._seen.add(real)
            self.findings.append(Finding(path, NOTES, num_files=1, num_bytes=path.lstat().st_size))

    def _find_source(self, finding: Finding, source: Mapping[str, str]) -> None:
        """Add what an artifact was made from to the folders to look at, or say why not."""
        kind, stated = source["kind"], Path(source["path"])
        beside = finding.path.absolute().parent / stated.name
        known = [found.path for found in self.findings if found.fingerprint == source["fingerprint"]]
        likely = [*known, *([stated] if stated.is_absolute() else []), beside]
        for folder in (*likely, *self._waiting, *self._near(finding.path.absolute())):
            if self._fingerprint(folder) == source["fingerprint"]:
                self.add([folder])
                return
        if broken := next((folder for folder in likely if was_artifact(folder)), None):
            self.add([broken])  # most likely this one: to be reported as such
        elif stated in likely and self._fingerprint(stated) is not None:
            what = f"is not the {kind} that {finding.path} was made from (its fingerprint differs)"
            finding.report(stated, what, f"bring that one back, or make the {finding.kind} again")
        else:
            finding.notes.append(
                f"the {kind} that {finding.path} was made from is neither at {stated} nor around it; not checked"
            )

    def _near(self, folder: Path) -> list[Path]:
        """Folders with manifests in the parent and the grandparent."""
        parent = folder.parent
        if parent not in self._around:
            places = [(parent, "*/"), (parent.parent, "*/"), (parent.parent, "*/*/")]
            found = [
                path.parent
                for place, depth in places
                for path in sorted(place.glob(depth + MANIFEST))
                if not any(part.startswith(".") for part in path.relative_to(place).parts)
            ]
            self._around[parent] = list(dict.fromkeys(found))
        return self._around[parent]

    def _fingerprint(self, folder: Path) -> str | None:
        """What the manifest of a folder says; None if it can't be read."""
        if folder not in self._fingerprints:
            try:
                self._fingerprints[folder] = artifact_manifest(folder)["fingerprint"]
            except ArtifactError:
                self._fingerprints[folder] = None
        return self._fingerprints[folder]


def _text(path: Path) -> str:
    """A path that may have bytes in it which are no text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
