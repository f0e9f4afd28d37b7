"""How much room a harvest needs, said before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lexiscope.core.draft import begun_bytes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.dtypes import DTYPES, StoredDtype
from lexiscope.harvest.rows import COLUMNS, resolve_hooks
from lexiscope.lm.model import LanguageModel

_COLUMN_BYTES_PER_TOKEN = 4 * len(COLUMNS)


@dataclass(frozen=True)
class Estimate:
    """Bytes that a store will take, and bytes that are free where it will lie or taken by its own beginning."""

    bytes: int
    free_bytes: int

    def check(self, out: Path) -> None:
        """Raises InputError: the disk has too little room."""
        if self.bytes > self.free_bytes:
            raise InputError(
                f"the store needs {readable_bytes(self.bytes)}, but only {readable_bytes(self.free_bytes)} are free at "
                f"{out.absolute().parent}; ask for fewer tokens or hook points, or choose another --out"
            )

    def note(self, share: float, elapsed_seconds: float) -> str:
        """Size and remaining time, from the share done so far (above 0, up to 1)."""
        left = elapsed_seconds * (1 - share) / share
        return f"{readable_bytes(self.bytes)} in all, {left:.0f} s left"


def estimate(
    model: LanguageModel,
    hooks: Sequence[HookPoint | str],
    *,
    tokens: int,
    out: Path | str,
    dtype: StoredDtype = "bfloat16",
) -> Estimate:
    """Size of a store of ``tokens`` rows. The time it takes is known only when the first batches have run.

    Raises:
        InputError: a hook point that the model does not have.
    """
    widths = [model.width_at(hook) for hook in resolve_hooks(model, hooks)]
    bytes_per_token = sum(widths) * DTYPES[dtype].itemsize + _COLUMN_BYTES_PER_TOKEN
    folder = next(parent for parent in Path(out).absolute().parents if parent.is_dir())
    return Estimate(tokens * bytes_per_token, shutil.disk_usage(folder).free + begun_bytes(Path(out)))


def readable_bytes(count: int) -> str:
    """``1.2 GB`` (decimal units)."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
