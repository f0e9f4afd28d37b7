"""What a run of the bench found, as one JSON file and two pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lexiscope.bench.comparison import Comparison
from lexiscope.bench.machine import Machine
from lexiscope.bench.parts import Breakdown
from lexiscope.bench.roof import Roof
from lexiscope.bench.scaling import Scaling
from lexiscope.core.errors import InputError

FILES = {"bench.json", "steps.svg", "scaling.svg"}
"""What a folder of results holds; one that holds anything else is not written to."""


@dataclass(frozen=True)
class Result:
    """Everything, in the order in which it is shown."""

    version: str
    machine: Machine
    started: str
    """UTC."""
    settings: dict[str, Any]
    kernels: dict[str, str]
    """What our kernels say of themselves."""
    roof: Roof
    comparisons: list[Comparison]
    breakdowns: list[Breakdown] = field(default_factory=list)
    scaling: list[Scaling] = field(default_factory=list)
    peers: dict[str, str] = field(default_factory=dict)
    """Versions of other libraries, and of the torch that they run on."""
    missing: list[str] = field(default_factory=list)
    """Libraries that were asked for and are not installed."""
    tuning: list[str] = field(default_factory=list)
    others_share: float | None = None
    """Share of the processor that other programs used meanwhile."""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the ratios that the tables show."""
        content = dataclasses.asdict(self)
        for comparison, shown in zip(self.comparisons, content["comparisons"], strict=True):
            for row, entry in zip(comparison.rows, shown["rows"], strict=True):
                entry |= {
                    "times_reference": comparison.ratio(row),
                    "over_floor": row.over_floor,
                    "rest_over_product": row.rest_over_product,
                }
        return content


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        InputError: with the name of what is there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder")
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
    if strangers:
        raise InputError(f"--out {folder} holds {strangers[0]}, which is no result of bench; give another folder")


def save(result: Result, folder: Path, pictures: dict[str, str]) -> None:
    """Write or replace the files of a folder, each at once.

    Raises:
        InputError: the folder can't be written.
    """
    check_folder(folder)
    texts = {"bench.json": json.dumps(result.as_json(), indent=1, ensure_ascii=False, allow_nan=False), **pictures}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            _replace(folder / name, text)
    except OSError as error:
        raise InputError(f"--out {folder} can't be written: {error}; give another folder") from None


def _replace(path: Path, text: str) -> None:
    descriptor, draft = tempfile.mkstemp(dir=path.parent.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise
