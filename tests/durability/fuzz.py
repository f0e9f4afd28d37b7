"""A target for coverage-guided fuzzers: the readers of artifacts.

    import atheris; from tests.durability.fuzz import fuzz
    atheris.Setup(sys.argv, fuzz); atheris.Fuzz()

The first byte says which file the others are. The manifest beside it agrees with it, as one would that was made by
whoever made the file, so that the code behind the hashes is reached.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.durability.hostile import KINDS, reseal
from tests.durability.uses import USES

from lexiscope.core.artifact import LANDMARKS
from lexiscope.core.errors import LexiscopeError
from lexiscope.core.manifest import MANIFEST


class Target(NamedTuple):
    kind: str
    file: str


class Bench:
    """Artifacts of which one file at a time is replaced.

    Args:
        run: a folder with one of each kind.
    """

    def __init__(self, run: Path, work: Path) -> None:
        self._work = work
        for kind in KINDS:
            shutil.copytree(run / kind, work / kind)
        self.targets = [
            Target(kind, file.relative_to(work / kind).as_posix())
            for kind in KINDS
            for file in sorted((work / kind).rglob("*"))
            if file.is_file() and file.name != "metrics.jsonl"
        ]

    def read(self, target: Target) -> bytes:
        return (self._work / target.kind / target.file).read_bytes()

    def use(self, target: Target, data: bytes) -> None:
        """Read the artifact with these bytes for one of its files, all that readers read of it.

        Raises:
            LexiscopeError: it is refused.
        """
        folder = self._work / target.kind
        file, manifest = folder / target.file, folder / MANIFEST
        whole, sealed = file.read_bytes(), manifest.read_bytes()
        try:
            file.write_bytes(data)
            if target.file != MANIFEST:
                reseal(folder)
            USES[target.kind](folder)
        finally:
            file.write_bytes(whole)
            manifest.write_bytes(sealed)


def fuzz(data: bytes) -> None:
    """Anything but a result or a LexiscopeError is a find."""
    bench = _bench()
    if not data:
        return
    target = bench.targets[data[0] % len(bench.targets)]
    with contextlib.suppress(LexiscopeError):
        bench.use(target, data[1:])


@functools.cache
def _bench() -> Bench:
    """From artifacts of its own, made when it is first needed."""
    from tests.durability.hostile import make_victims

    root = Path(tempfile.mkdtemp())
    return Bench(make_victims(root).run, root / "bench")


assert set(LANDMARKS) == set(KINDS)
