"""Faults of a disk, on demand: what to inject, and the process that runs stages under them (driver.py, shim.c)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

HERE = Path(__file__).parent
SECONDS = 60
"""A stage takes less than one; it hangs if it takes so long."""


class Op(IntEnum):
    """Kinds of calls, as shim.c has them."""

    CREATE, WRITE, SYNC, RENAME, UNLINK, TRUNCATE, MKDIR, RMDIR, OPEN, READ, MARK = range(11)


class Action(IntEnum):
    NOTHING, FAIL_ONCE, FAIL_FROM, SHORT, SIGNAL_BEFORE, SIGNAL_AFTER, SIGNAL_TORN = range(7)


SPACE = frozenset({Op.CREATE, Op.WRITE, Op.SYNC, Op.RENAME, Op.TRUNCATE, Op.MKDIR})
"""Calls that may find no space."""
CHANGES = SPACE | {Op.UNLINK, Op.RMDIR}
ALL = CHANGES | {Op.OPEN, Op.READ}
RENAMES = frozenset({Op.RENAME})
TRANSFERS = frozenset({Op.WRITE, Op.READ})


class Fault(NamedTuple):
    """What happens at call number ``at``, from 1, among those that count. ``value``: errno or signal."""

    action: Action = Action.NOTHING
    value: int = 0
    at: int = 0
    counted: frozenset[Op] = CHANGES
    clock_jump: int = 0
    """Seconds by which the clock on the wall is another once it has happened."""


class Fired(NamedTuple):
    """Where a fault struck."""

    number: int
    op: Op
    path: str

    @property
    def in_checkpoint(self) -> bool:
        return "/checkpoints/" in self.path


class Ended(NamedTuple):
    """How a stage ended: done, refused (with a sentence), stopped, hung, traceback, or the name of a signal."""

    how: str
    kind: str
    message: str
    warnings: list[str]
    calls: int
    fired: Fired | None
    stopped: int
    said: str


class Step(NamedTuple):
    """One change to the folder, as it was traced."""

    op: Op
    path: str
    other: str
    truncates: bool
    offset: int
    data: bytes


def missing() -> str | None:
    """Why nothing can be injected on this machine."""
    if sys.platform != "linux":
        return "a failing disk is simulated with LD_PRELOAD, which needs Linux"
    if shutil.which("cc") is None:
        return "a failing disk is simulated with a library that needs a C compiler (cc)"
    return None


def build(folder: Path) -> Path:
    """The library, compiled."""
    library = folder / "shim.so"
    source = HERE / "shim.c"
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return library


class Driver:
    """The process that runs stages. One at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        environment = {
            **os.environ,
            "LD_PRELOAD": str(build(folder)),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE / "driver.py", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()

    def run(
        self,
        task: str,
        out: Path,
        fault: Fault | None = None,
        *,
        every: int | None = 1,
        root: Path | None = None,
        trace: Path | None = None,
        memory: int | None = None,
        powerless: bool = False,
        arguments: Sequence[str] = (),
    ) -> Ended:
        """Run a stage to its end.

        Args:
            every: steps between checkpoints. None: as by default.
            root: faults strike below this folder; by default the one in which ``out`` lies.
            trace: a file for all changes to it.
            memory: bytes it may have beyond what it has when it begins.
            powerless: what permissions say holds for it even if this is root.
            arguments: of the task "cli".
        """
        (ended,) = self._ask(
            task=task,
            out=os.fsencode(out).hex(),
            every=every,
            root=os.fsencode(root or out.parent).hex(),
            fault=fault or Fault(),
            trace=None if trace is None else str(trace),
            memory=memory,
            powerless=powerless,
            arguments=list(arguments),
            copies=1,
        )
        return ended

    def race(self, task: str, out: Path, copies: int) -> list[Ended]:
        """Run a stage so many times at once."""
        return self._ask(
            task=task,
            out=os.fsencode(out).hex(),
            every=1,
            root=os.fsencode(out.parent).hex(),
            fault=Fault(),
            trace=None,
            memory=None,
            powerless=False,
            arguments=[],
            copies=copies,
        )

    def _ask(self, *, fault: Fault, **request: object) -> list[Ended]:
        said = self._folder / "said.txt"
        struck = {**fault._asdict(), "counted": sum(1 << op for op in fault.counted)}
        assert self._process.stdin
        assert self._process.stdout
        line = json.dumps({**request, "fault": struck, "said": str(said), "seconds": SECONDS})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        return [_ended(answer, said.read_text(errors="replace")) for answer in answers]


def _ended(answer: dict[str, Any], said: str) -> Ended:
    report = answer["report"]
    fired = Fired(report["fired"], Op(report["op"]), report["path"]) if report["fired"] else None
    return Ended(
        answer["ended"],
        answer["kind"],
        answer["message"],
        answer["warnings"],
        report["calls"],
        fired,
        answer["stopped"],
        said,
    )


def read_trace(path: Path) -> Iterator[Step]:
    """What the shim wrote down."""
    content, at = path.read_bytes(), 0
    head = struct.Struct("=iiiiqq")
    while at < len(content):
        op, path_bytes, other_bytes, truncates, offset, length = head.unpack_from(content, at)
        at += head.size
        parts = []
        for size in (path_bytes, other_bytes, length):
            parts.append(content[at : at + size])
            at += size
        yield Step(Op(op), os.fsdecode(parts[0]), os.fsdecode(parts[1]), bool(truncates), offset, parts[2])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; of a manifest what does not tell the time."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = json.loads(found.pop("manifest.json"))
    del manifest["created"], manifest["manifest_sha256"]
    return {**found, "manifest.json": json.dumps(manifest).encode()}


KILLS = (Action.SIGNAL_BEFORE, Action.SIGNAL_AFTER, Action.SIGNAL_TORN)


def kill(at: int, how: Action = Action.SIGNAL_BEFORE, counted: frozenset[Op] = CHANGES) -> Fault:
    return Fault(how, signal.SIGKILL, at, counted)
