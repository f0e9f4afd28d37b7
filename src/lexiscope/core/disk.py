"""Disk: what is written is whole or not there, on a machine that may lose power at any moment."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lexiscope.core.errors import DiskError, InputError, is_out_of_memory

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_NAME = {
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EILSEQ
}  # fmt: skip
_PIECE_BYTES = 1 << 18


class FileEntry(NamedTuple):
    """What a manifest says of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path, seen: Callable[[int], None] | None = None) -> FileEntry:
        """Read the file; ``seen`` hears of the bytes of each piece."""
        digest, size = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_PIECE_BYTES))
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                size += count
                if seen is not None:
                    seen(count)
        return cls(size, digest.hexdigest())

    @classmethod
    def listed(cls, entry: Mapping[str, Any]) -> FileEntry:
        """As a manifest has it."""
        return cls(entry["bytes"], entry["sha256"])

    def trouble(self, root: str, name: str) -> str | None:
        """What is wrong with a file of a folder, as far as can be seen without reading it.

        Args:
            root: the folder, with all links resolved.
        """
        try:
            real = os.path.realpath(Path(root, name), strict=True)
            found = Path(real).stat()
        except FileNotFoundError:
            return "is missing"
        except (OSError, ValueError) as error:
            return f"can't be read ({error})"
        if not Path(real).is_relative_to(root):
            return "is a link that leads out of its folder"
        if not stat.S_ISREG(found.st_mode):
            return "is no file"
        if found.st_size != self.bytes:
            return "is truncated or changed (its size differs)"
        return None


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


def give_name(partial: Path, final: Path) -> None:
    """Give a file its final name, which must be free. The name is not flushed.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(partial, final)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final)) from None
        partial.rename(final)
    else:
        partial.unlink()


def make_folder(folder: Path) -> None:
    """A folder with its parents, unless they are there; those that are new survive a power cut."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        flush(path.parent)


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
        InputError: nothing may be written there, or no file can have this name.
    """
    try:
        yield
    except Exception as error:
        number, why = _trouble(error, out)
        if number is None:
            raise
        if number in _REFUSED:
            raise InputError(f"can't write to {out.parent}: {why}; choose another --out") from None
        if number in _WRONG_NAME:
            raise InputError(f"can't write {out}: {why}; choose another --out") from None
        if number in _FULL:
            raise DiskError(
                f"the disk of {out} is full; make room and give the same command again, or choose another --out"
            ) from None
        raise DiskError(
            f"the disk of {out} failed ({why}); check it, then give the same command again or choose another --out"
        ) from None


def _trouble(error: Exception, out: Path) -> tuple[int | None, str]:
    """Number and words of an error of the disk that ``out`` is on; no number if it is another one."""
    if isinstance(error, OSError):
        # What libraries derive from OSError is about networks, as are connections.
        if error.errno is None or type(error).__module__ != "builtins" or isinstance(error, ConnectionError):
            return None, ""
        if is_out_of_memory(error):
            return None, ""
        why = error.strerror or str(error)
        if not isinstance(error.filename, str | bytes):
            return error.errno, why
        name, whole = Path(os.fsdecode(error.filename)).absolute(), out.absolute()
        if not name.is_relative_to(whole.parent) and not whole.is_relative_to(name):
            return None, ""
        return error.errno, f"{why}: {name}"
    duckdb = sys.modules.get("duckdb")
    if duckdb is not None and isinstance(error, duckdb.IOException):
        # The number is only in its words.
        words = {os.strerror(number): number for number in errno.errorcode}
        return next(((words[why], why) for why in words if why in str(error)), (errno.EIO, os.strerror(errno.EIO)))
    return None, ""
