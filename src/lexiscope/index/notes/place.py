"""Place: whether a file of notes is there, whose it is, and how a new one comes there, whole or not at all."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lexiscope.core.disk import flush, give_name
from lexiscope.core.errors import InputError
from lexiscope.index.notes.connection import connect
from lexiscope.index.notes.schema import APPLICATION_ID, migrate
from lexiscope.index.notes.values import TOOL

_FORGOTTEN_SECONDS = 3600


class Dictionary(NamedTuple):
    """What notes are about: features of one autoencoder."""

    fingerprint: str
    num_latents: int


NOTHING = (None, None, 0, 0, False)


def look(path: Path) -> tuple[Any, ...]:
    """Which file is there (device and number), then what changes when somebody writes."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return NOTHING
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); allow reading it") from None
    log = path.with_name(path.name + "-wal")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, log.exists()


def make(path: Path, dictionary: Dictionary) -> None:
    """A new file, under another name until it is whole. If another process was faster, its file stays."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        _remove_forgotten(path)
        partial.unlink(missing_ok=True)
        connection = connect(partial, "rwc")
        try:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("BEGIN")
            migrate(connection, 0)
            about = {
                "sae_fingerprint": dictionary.fingerprint,
                "num_latents": str(dictionary.num_latents),
                "created_at": str(time.time_ns() // 1000),
                "tool": TOOL,
            }
            connection.executemany("INSERT INTO about VALUES (?, ?)", list(about.items()))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        flush(partial)
        with suppress(FileExistsError):
            give_name(partial, path)
        partial.unlink(missing_ok=True)
        flush(path.parent)
    except OSError as error:
        raise InputError(f"can't write {path} ({error.strerror}); allow writing in its folder") from None


def _remove_forgotten(path: Path) -> None:
    """What a process left that was killed while it made a file here."""
    for found in path.parent.iterdir():
        if found.name.startswith(f".{path.name}.") and ".partial" in found.name:
            with suppress(FileNotFoundError):  # another process removes it, too
                if time.time() - found.lstat().st_mtime > _FORGOTTEN_SECONDS:
                    found.unlink()
