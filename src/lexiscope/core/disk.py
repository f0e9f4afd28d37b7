"""Disk: what is written is whole or not there, on a machine that may lose power at any moment."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lexiscope.core.errors import DiskError, InputError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


class FileEntry(NamedTuple):
    """What a manifest says of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Read the file."""
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def json_text(value: object) -> str:
    """Plain, stable JSON: keys in the order given, no NaN."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    path.write_text(json_text(value), encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """A file of its own: the old text or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    flush(partial)
    partial.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """What was written to a file, or which names a folder holds, survives a power cut after this."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(partial: Path, final: Path) -> None:
    """Give a folder its final name once everything in it is on the disk. ``final`` is free, or an empty folder.

    Raises:
        OSError: the name is taken, or the disk failed.
    """
    for path in partial.rglob("*"):
        flush(path)
    flush(partial)
    partial.rename(final)
    flush(final.parent)


def remove(folder: Path) -> None:
    """Remove a folder and what is in it, if it is there. What can't be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk_trouble(out: Path) -> Iterator[None]:
    """Errors of the disk, while ``out`` is written, as a sentence with the next move.

    Raises:
        DiskError: the disk is full or failed.
        InputError: nothing may be written there.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in _REFUSED:
            raise InputError(f"can't write to {out.parent}: {why}; choose another --out") from None
        if error.errno in _FULL:
            raise DiskError(
                f"the disk of {out} is full; make room and give the same command again, or choose another --out"
            ) from None
        if error.errno == errno.EIO:
            raise DiskError(
                f"the disk of {out} failed ({why}); check it, then give the same command again or choose another --out"
            ) from None
        raise
