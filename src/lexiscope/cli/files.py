"""Files that verbs take in and give out: nothing that is there is written over, nothing half-made has a final name."""

from __future__ import annotations

import codecs
import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lexiscope.core.disk import disk_trouble, flush, give_name
from lexiscope.core.errors import InputError, one_line

MOST_OF_A_LINE = 32 << 20


def check_new(out: Path, option: str = "--out") -> None:
    """Whether a file of this name may be made.

    Args:
        option: that named it.

    Raises:
        InputError: something has this name already, or nothing can be written there.
    """
    if os.path.lexists(out):
        raise InputError(
            f"{out} is there already and nothing is written over; choose another {option}, or move it away"
        )
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}; make it, or choose another {option}")


@contextmanager
def new_file(out: Path | None, option: str = "--out") -> Iterator[IO[str]]:
    """A file to write, as UTF-8 with ends of lines as they are; None: standard output.

    Raises:
        InputError: something has this name already, or nothing can be written there.
    """
    if out is None:
        yield sys.stdout
        return
    check_new(out, option)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    with disk_trouble(out):
        try:
            with partial.open("x", encoding="utf-8", newline="") as file:
                yield file
            flush(partial)
            try:
                give_name(partial, out)
            except FileExistsError:
                check_new(out, option)
                raise
            flush(out.parent)
        finally:
            partial.unlink(missing_ok=True)


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, with their ends; of one that is named ``.gz`` those of what is packed in it.

    Raises:
        InputError: it can't be read, or has a line that is too long to be anything.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                file.seek(0)
            while line := file.readline(MOST_OF_A_LINE + 1):
                if len(line) > MOST_OF_A_LINE:
                    raise InputError(f"{path} has a line of more than {MOST_OF_A_LINE >> 20} MB; give another file")
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} can't be unpacked ({error}); give a whole file") from None
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error}); give another file") from None


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """What is wrong with a file that is read says which file that is."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error) if one_line(str(path)) in str(error) else f"{path}: {error}") from None
