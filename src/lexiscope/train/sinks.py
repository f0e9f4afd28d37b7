"""Where the numbers of a run go: a file of JSON lines, and TensorBoard where it is installed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from lexiscope.core.errors import ArtifactError

METRICS = "metrics.jsonl"


class Position(NamedTuple):
    """How far a file of metrics was written."""

    bytes: int
    sha256: str
    step: int
    """Last step in it."""


class Sink(Protocol):
    def write(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class JsonLines:
    """One object per line: the step and its values. No clock in it, so that equal runs leave equal files.

    Args:
        after: go on after this; what was written later is cut off.

    Raises:
        ArtifactError: what came before is not what was written.
    """

    def __init__(self, path: Path, after: Position | None = None) -> None:
        self._digest, self._step = hashlib.sha256(), 0
        self._file: BinaryIO
        if after is None:
            self._file = path.open("wb")
            return
        self._step = after.step
        self._digest.update(path.read_bytes()[: after.bytes] if path.is_file() else b"")
        if self._digest.hexdigest() != after.sha256:
            raise ArtifactError(f"{path} is damaged, so the run can't go on; remove {path.parent.parent}")
        self._file = path.open("r+b")
        self._file.truncate(after.bytes)
        self._file.seek(0, os.SEEK_END)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        line = (json.dumps({"step": step, **values}) + "\n").encode()
        self._file.write(line)
        self._file.flush()
        self._digest.update(line)
        self._step = step

    def position(self) -> Position:
        """Where it stands; what is before it is on the disk after this."""
        os.fsync(self._file.fileno())
        return Position(self._file.tell(), self._digest.hexdigest(), self._step)

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """One scalar per name. ``after``: steps above it that are there already are void."""

    def __init__(self, folder: Path, after: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=None if after is None else after + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Sinks:
    """JSON lines always; TensorBoard if its package is there."""

    def __init__(self, metrics: Path, tensorboard: Path, after: Position | None = None) -> None:
        self._lines = JsonLines(metrics, after)
        self._all: list[Sink] = [self._lines]
        if importlib.util.find_spec("tensorboard") is not None:
            self._all.append(TensorBoard(tensorboard, None if after is None else after.step))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for sink in self._all:
            sink.write(step, values)

    def position(self) -> Position:
        """See `JsonLines.position`."""
        return self._lines.position()

    def close(self) -> None:
        for sink in self._all:
            sink.close()
