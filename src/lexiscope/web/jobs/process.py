"""The process of a job: how it is started, and how it is told from another one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lexiscope.core.progress import VARIABLE

Child = subprocess.Popen[bytes]


def begin(command: Sequence[str], log: BinaryIO, folder: Path) -> Child:
    """Start a command that says how far it is, in a session of its own, so that no terminal interrupts it."""
    return subprocess.Popen(  # noqa: S603 - a verb of ours and a folder that was found
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, VARIABLE: "lines"},
        start_new_session=True,
    )


def began(process: int) -> str:
    """When a process began, by the clock of the system; empty if there is none, or if nobody can tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


@contextmanager
def interruptible_children() -> Iterator[None]:
    """Within the block what is started heeds an interrupt, also where this process ignores them.

    A script ignores them in what it runs with ``&``. Children inherit what is ignored, and not what is handled.
    """
    in_main = threading.current_thread() is threading.main_thread()  # no other may say what is handled
    ignored = in_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
