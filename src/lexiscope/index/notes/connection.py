"""Connection: SQLite as careful as it can be told to be, and what it says when something is wrong, in a sentence.

A file may come from anybody: nothing in it is run (no triggers, no extensions, no functions that reach out), what it
declares is compared with what this package declares, and a question that takes too long is given up.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lexiscope.core.config import MOST_QUOTED
from lexiscope.core.errors import ArtifactError, DamageError, DiskError, InputError, LexiscopeError, one_line
from lexiscope.core.sqlite import database_uri
from lexiscope.index.notes.schema import APPLICATION_ID, expected_shape, shape, version

BUSY_SECONDS = 5.0
"""How long to wait for another writer."""
LONGEST_SECONDS = 30.0
"""A question that takes longer is given up."""
MOST_BYTES = 32 << 20
"""Of one row."""
_MAGIC = b"SQLite format 3\0"
_OPERATIONS_BETWEEN_LOOKS = 20_000


class BusyError(LexiscopeError):
    """Others are at work here; the same thing again later goes well."""


class Connection(sqlite3.Connection):
    """With a time by which a question must be answered.

    Attributes:
        seen: what the file looked like when it was opened.
    """

    deadline = float("inf")
    seen: object = None

    def allow(self, seconds: float | None) -> None:
        """From now on; None is as long as it takes."""
        self.deadline = float("inf") if seconds is None else time.monotonic() + seconds


def connect(path: Path | None, mode: str, *, immutable: bool = False) -> Connection:
    """Open a file that is there, or nothing at all (an empty one in memory) for None."""
    uri = database_uri(path or Path(":memory:"), mode, immutable=immutable)
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=Connection
    )
    try:
        _restrain(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _restrain(connection: Connection) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    connection.set_progress_handler(lambda: time.monotonic() > connection.deadline, _OPERATIONS_BETWEEN_LOOKS)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = FULL", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA wal_autocheckpoint = 8000")


def look_at(path: Path) -> int:
    """Refuse what can't be a file of notes before SQLite reads it.

    Returns:
        The version of its format.

    Raises:
        InputError: it is a link or no file, or may not be read.
        ArtifactError: it is something else, or of a newer version.
    """
    try:
        for beside in ("", "-wal", "-shm", "-journal"):
            companion = path.with_name(path.name + beside)
            if os.path.lexists(companion) and not stat.S_ISREG(companion.lstat().st_mode):
                raise InputError(f"{companion} is a link or no file; put the file itself there, or move it away")
        if (journal := path.with_name(path.name + "-journal")).exists():
            raise InputError(f"{journal} belongs to no file of notes; move it away")
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); allow reading it, or move it away") from None
    if len(head) < 100 or not head.startswith(_MAGIC) or int.from_bytes(head[68:72]) != APPLICATION_ID:
        raise ArtifactError(f"{path} is no file of notes that Lexiscope made; move it away, or restore it from a copy")
    return int.from_bytes(head[60:64])


def check_version(path: Path, found: int) -> None:
    """Raises ArtifactError: it was written by a newer Lexiscope, or by none."""
    if found > version():
        raise ArtifactError(
            f"{path} has format {found} of notes, this version of Lexiscope reads {version()}; "
            "install the version that wrote it"
        )
    if found < 1:
        raise ArtifactError(f"{path} is no file of notes that Lexiscope made; move it away, or restore it from a copy")


def check_shape(connection: sqlite3.Connection, path: Path, found: int) -> None:
    """Raises ArtifactError: the file declares something that Lexiscope did not, or lacks something."""
    declared, expected = shape(connection), expected_shape(found)
    if declared == expected:
        return
    kind, name, _ = min(declared ^ expected)
    raise ArtifactError(
        f"{path} is no file of notes that Lexiscope made (its {one_line(kind, MOST_QUOTED)} "
        f"{one_line(name, MOST_QUOTED)!r} differs); restore it from a copy, or move it away"
    )


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """What SQLite says, as a sentence with the next move."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _said(error, path) from None


def _said(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> Exception:
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_CORRUPT) & 0xFF
    why = one_line(str(error), MOST_QUOTED)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return BusyError(f"{path} is being written to by another process for {BUSY_SECONDS:.0f} s; try again")
    if code == sqlite3.SQLITE_INTERRUPT:
        return BusyError(f"{path} did not answer within {LONGEST_SECONDS:.0f} s; ask for less, or check the file")
    if code == sqlite3.SQLITE_FULL:
        return DiskError(f"the disk of {path} is full; make room and try again")
    if code == sqlite3.SQLITE_IOERR:
        return DiskError(f"the disk of {path} failed ({why}); check it, then try again")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return InputError(f"{path} can't be opened or written ({why}); allow writing in its folder, or only read it")
    if code == sqlite3.SQLITE_NOMEM:
        return MemoryError(why)
    if code == sqlite3.SQLITE_TOOBIG:
        return InputError(f"{path} takes no row of more than {MOST_BYTES >> 20} MB; make it shorter")
    return DamageError(f"{path} is damaged ({why}); restore it from a copy, or move it away")
