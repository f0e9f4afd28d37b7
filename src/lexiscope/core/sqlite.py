"""SQLite files beside artifacts: whether one is whole. Nothing in it is changed, and nothing in it is run."""

from __future__ import annotations

import os
import sqlite3
import stat
import urllib.parse
from contextlib import closing
from pathlib import Path

NOTES_SUFFIX = ".notes.sqlite"
"""What people and models write about the features of an index ``NAME`` is ``NAME.notes.sqlite`` beside it."""
MOST_TROUBLES = 3


def notes_beside(index: Path | str) -> Path:
    """Where the notes of an index lie, whichever link led to it."""
    real = Path(os.path.realpath(index))
    return real.with_name(real.name + NOTES_SUFFIX)


def database_uri(path: Path, mode: str, *, immutable: bool = False) -> str:
    """For ``sqlite3.connect(..., uri=True)``, whatever the name."""
    return f"file:{urllib.parse.quote(os.fsencode(path))}?mode={mode}" + ("&immutable=1" if immutable else "")


def database_trouble(path: Path) -> str | None:
    """What is wrong with a file, all of which is read."""
    try:
        for name in (path, _log(path)):
            if os.path.lexists(name) and not stat.S_ISREG(name.lstat().st_mode):
                return "is a link or no file"
        # Without a log nobody has it open. SQLite would make one to read it.
        uri = database_uri(path, "ro", immutable=not _log(path).exists())
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            rows = connection.execute(f"PRAGMA integrity_check({MOST_TROUBLES})").fetchall()
    except OSError as error:
        return f"can't be read ({error.strerror})"
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return f"is damaged ({error})"
    found = [str(row[0]) for row in rows]
    return None if found == ["ok"] else f"is damaged ({found[0] if found else 'it can not be checked'})"


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
