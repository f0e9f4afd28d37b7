"""Checkpoints: where a stage that is killed goes on.

    checkpoints/0000001200/manifest.json       what is being made, plain values, hashes; sealed like an artifact's
    checkpoints/0000001200/state.safetensors   tensors

A checkpoint gets its name when it is whole and on the disk. Old ones go after that, so that there is always one. It
lists the files of the draft that there were: whoever goes on from it removes what came later, such as a manifest or a
library's temporary file, which would otherwise become part of the artifact.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field
from torch import Tensor

from lexiscope.core.config import Config, difference
from lexiscope.core.disk import FileEntry, flush, publish, remove
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.manifest import MANIFEST, read_checkpoint_manifest, write_sealed
from lexiscope.core.tensors import read_tensors, write_tensors

STATE = "state.safetensors"
STALL = 0.01
"""Share of the time that writing checkpoints may take, unless a number of steps is given."""


class CheckpointWarning(UserWarning):
    """A checkpoint can't be used, or is used under other conditions."""


class Keeping(Config):
    """When to write a checkpoint, and how many to keep. None of it changes what is made."""

    every_seconds: float = Field(30.0, gt=0)
    """At least so long between two; longer where that would take more than 1 % of the time."""
    every_steps: int | None = Field(None, ge=1)
    """After every so many steps instead, whatever it costs."""
    keep: int = Field(2, ge=1)
    """How many stay."""
    max_gb: float | None = Field(None, gt=0)
    """Disk that all of them may take; fewer are kept then. Two must fit: the last one stays until the next is whole."""


class Checkpoint(NamedTuple):
    """Where to go on from."""

    number: int
    """Steps done."""
    tensors: dict[str, Tensor]
    values: dict[str, Any]


class _Read(NamedTuple):
    checkpoint: Checkpoint
    draft: list[str]
    """The files that the draft had."""


class Checkpoints:
    """Those of one artifact in the making. The draft lies beside their folder.

    Attributes:
        folder: where they are.

    Args:
        identity: what is being made: only a run with the same one goes on from them.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], keeping: Keeping) -> None:
        self.folder, self._identity, self._keeping = folder, identity, keeping
        self._draft = folder.with_name("draft")
        self._last = time.monotonic()
        self._cost = 0.0

    def __bool__(self) -> bool:
        return bool(self._names())

    def due(self, number: int) -> bool:
        """Whether it is time for one after so many steps."""
        if self._keeping.every_steps is not None:
            return number % self._keeping.every_steps == 0
        return time.monotonic() - self._last >= max(self._keeping.every_seconds, self._cost / STALL)

    def save(self, number: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Write one.

        Raises:
            InputError: two do not fit into ``max_gb``.
            OSError: the disk is full, or failed; older ones are as they were.
        """
        began = time.monotonic()
        self._make_room(sum(tensor.nbytes for tensor in tensors.values()))
        partial = self.folder / ".partial"
        remove(partial)
        partial.mkdir(parents=True)
        try:
            files = {STATE: write_tensors(partial / STATE, tensors)._asdict()}
            manifest = {
                "number": number,
                "identity": self._identity,
                "values": values,
                "draft": self._flush_draft(),
                "files": files,
            }
            write_sealed(partial / MANIFEST, manifest)
            final = self.folder / f"{number:010d}"
            remove(final)  # damaged, or it would have been gone on from
            publish(partial, final)
        except BaseException:
            remove(partial)
            raise
        for name in self._names()[: -self._keeping.keep]:
            remove(self.folder / name)
        self._last = time.monotonic()
        self._cost = self._last - began

    def all(self) -> Iterator[Checkpoint]:
        """Those that are whole, in order. Damaged ones are named in a warning.

        Raises:
            InputError: they belong to something else.
        """
        last: _Read | None = None
        for name in self._names():
            try:
                last = self._read(self.folder / name)
            except ArtifactError as error:
                warnings.warn(f"{error}; what it holds is made again", CheckpointWarning, stacklevel=2)
                continue
            yield last.checkpoint
        if last is not None:
            self._trim_draft(last.draft)

    def newest(self) -> Checkpoint | None:
        """The newest one that is whole; None if there never was one. Damaged ones are named in a warning.

        Raises:
            InputError: they belong to something else.
            ArtifactError: all are damaged.
        """
        names = self._names()
        for name in reversed(names):
            try:
                found = self._read(self.folder / name)
            except ArtifactError as error:
                warnings.warn(f"{error}; going on from an older checkpoint", CheckpointWarning, stacklevel=2)
                continue
            self._trim_draft(found.draft)
            return found.checkpoint
        if names:
            raise ArtifactError(f"all checkpoints in {self.folder} are damaged; remove {self.folder.parent}")
        return None

    def _read(self, folder: Path) -> _Read:
        manifest = read_checkpoint_manifest(folder)
        if what := difference("it", self._identity, manifest["identity"]):
            raise InputError(
                f"a run with other settings was interrupted here ({what}); give these to go on, or choose another "
                f"--out, or remove {self.folder.parent}"
            )
        path = folder / STATE
        listed = manifest["files"].get(STATE)
        try:
            whole = listed is not None and path.is_file() and FileEntry.of(path) == FileEntry.listed(listed)
        except OSError as error:
            raise ArtifactError(f"{path} can't be read ({error.strerror})") from None
        if not whole:
            raise ArtifactError(f"{path} is missing or damaged (its SHA-256 differs)")
        return _Read(Checkpoint(manifest["number"], read_tensors(path), manifest["values"]), manifest["draft"])

    def _flush_draft(self) -> list[str]:
        """Names of the files of the draft. Which folders and files there are is on the disk after this."""
        found = list(self._draft.rglob("*"))
        for folder in (self._draft.parent, self._draft, *found):
            if folder.is_dir():
                flush(folder)
        return sorted(path.relative_to(self._draft).as_posix() for path in found if path.is_file())

    def _trim_draft(self, kept: Sequence[str]) -> None:
        """Remove every other file of the draft."""
        for path in list(self._draft.rglob("*")):
            if path.is_file() and path.relative_to(self._draft).as_posix() not in kept:
                path.unlink()

    def _make_room(self, size: int) -> None:
        """Remove what a budget has no room for beside a new one, but never the last."""
        if self._keeping.max_gb is None:
            return
        budget = self._keeping.max_gb * 1e9
        if 2 * size > budget:
            raise InputError(
                f"a checkpoint takes {size / 1e9:.2f} GB and two must fit: set recovery.max_gb to "
                f"{2 * size / 1e9:.2f} or more, or leave it out"
            )
        for name in self._names()[: -max(1, int(budget // max(size, 1)) - 1)]:
            remove(self.folder / name)

    def _names(self) -> list[str]:
        return _names(self.folder)


def same_conditions(name: str, now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """What to note of the conditions of a run that goes on; says so if they are not what they were.

    Args:
        then: those in the checkpoint.
    """
    if not (what := difference("it", {**now}, {**then})):
        return dict(then)
    warnings.warn(
        f"{name} goes on under other conditions ({what}): its last bits may differ from those of a run without a break",
        CheckpointWarning,
        stacklevel=2,
    )
    return {**then, "changed": what}


def newest_number(folder: Path) -> int | None:
    """Of the checkpoints in a folder; None if there are none."""
    names = _names(folder)
    return int(names[-1]) if names else None


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name.isdecimal())
