"""Lock: one run at a time in a folder. The system lets go of it when a process ends, however that came about."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lexiscope.core.disk import remove
from lexiscope.core.errors import InputError

LOCK = "lock"


@contextmanager
def locked(folder: Path, purpose: str) -> Iterator[None]:
    """Hold a folder, making it if need be; the block may remove it at its end.

    On systems without ``flock`` (Windows) nothing is held.

    Args:
        purpose: what the folder is for, for the message.

    Raises:
        InputError: another process holds it.
        OSError: the folder can't be made.
    """
    descriptor = _take(folder, purpose)
    try:
        yield
    finally:
        os.close(descriptor)


def remove_held(folder: Path) -> None:
    """Remove a folder that is held, its lock last: nobody else gets in while there is something to remove.

    What can't be removed stays.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                remove(path)
            elif path.name != LOCK:
                path.unlink()
        (folder / LOCK).unlink()
        folder.rmdir()


def _take(folder: Path, purpose: str) -> int:
    while True:
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # the one that held it has just removed the folder
        try:
            _lock(descriptor, purpose)
            if _is_there(folder / LOCK, descriptor):
                _write_owner(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, purpose: str) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(descriptor)
        raise InputError(f"{purpose} is being made by {owner}; wait for it or choose another --out") from None


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether the file that is locked is still the one that others would find."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps([os.getpid(), socket.gethostname()]).encode(), 0)


def _owner(descriptor: int) -> str:
    try:
        process, host = json.loads(os.pread(descriptor, 1024, 0))
    except ValueError:
        return "another run"
    return f"another run (process {process} on {host})"
