"""Where the numbers of a run go: a file of JSON lines, and TensorBoard where it is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

METRICS = "metrics.jsonl"


class Sink(Protocol):
    def write(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class JsonLines:
    """One object per line: the step and its values. No clock in it, so that equal runs leave equal files."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """One scalar per name."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


def open_sinks(metrics: Path, tensorboard: Path) -> list[Sink]:
    """JSON lines always; TensorBoard if its package is there."""
    sinks: list[Sink] = [JsonLines(metrics)]
    if importlib.util.find_spec("tensorboard") is not None:
        sinks.append(TensorBoard(tensorboard))
    return sinks
