"""Database: one file of notes, read by many threads and written by one at a time, from any number of processes.

Reading borrows one of a few connections and sees one moment. Writing is a transaction; when it ends, it is on the disk.
A file that isn't there reads as an empty one, and is made by the first that writes, whole or not at all.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lexiscope.core.config import MOST_QUOTED
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.index.notes.connection import (
    BUSY_SECONDS,
    LONGEST_SECONDS,
    BusyError,
    Connection,
    check_shape,
    check_version,
    connect,
    look_at,
    sentences,
)
from lexiscope.index.notes.place import NOTHING, Dictionary, look, make
from lexiscope.index.notes.schema import migrate, version

_READERS = 4
"""Connections for reading; more threads than these wait. Each holds at most 16 MB of pages."""


class Database:
    """An open file of notes. Safe to share between threads."""

    def __init__(self, path: Path, dictionary: Dictionary, *, readonly: bool = False) -> None:
        self.path, self.dictionary, self.readonly = path, dictionary, readonly
        self._idle: list[Connection] = []
        self._slots = threading.BoundedSemaphore(_READERS)
        self._pool = threading.Lock()
        self._writing = threading.Lock()
        self._writer: Connection | None = None
        self._closed = False
        with self.read():
            pass  # what is wrong with the file is said now

    @contextmanager
    def read(self, seconds: float | None = LONGEST_SECONDS) -> Iterator[Connection]:
        """A connection that sees one moment. Not to be entered twice by one thread."""
        with self._slots:
            with sentences(self.path):
                connection = self._borrow()
                connection.allow(seconds)
            try:
                with self._unless_it_changed(connection), sentences(self.path):
                    connection.execute("BEGIN")
                    yield connection
            finally:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction. What was written is on the disk when the block has ended without an error.

        Raises:
            InputError: it was opened for reading only, or nothing may be written there.
            BusyError: others write for too long.
            DiskError: the disk is full or failed.
        """
        if self.readonly:
            raise InputError(f"{self.path} was opened for reading only; open it for writing")
        if not self._writing.acquire(timeout=BUSY_SECONDS):
            raise BusyError(f"{self.path} is being written to by another thread for {BUSY_SECONDS:.0f} s; try again")
        try:
            with sentences(self.path):
                connection = self._open_writer()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
        finally:
            self._writing.release()

    def close(self) -> None:
        """Twice does no harm."""
        with self._pool, self._writing:
            self._closed = True
            for connection in (*self._idle, *([self._writer] if self._writer else [])):
                connection.close()
            self._idle, self._writer = [], None

    @contextmanager
    def _unless_it_changed(self, connection: Connection) -> Iterator[None]:
        """Whoever reads without leaving a trace can't be seen by who begins to write, and finds that out here."""
        try:
            yield
        finally:
            if connection.seen not in {(now := look(self.path)), now[:2], NOTHING}:
                raise BusyError(f"{self.path} changed while it was read; try again") from None

    def _borrow(self) -> Connection:
        self._check_open()
        now = look(self.path)
        with self._pool:
            while self._idle:
                connection = self._idle.pop()
                if connection.seen in (now, now[:2]):
                    return connection
                connection.close()
        return self._open_reader()

    def _give_back(self, connection: Connection) -> None:
        with self._pool:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def _open_reader(self) -> Connection:
        now = look(self.path)
        if now == NOTHING:
            connection = connect(None, "memory")
            with _closed_on_error(connection):
                migrate(connection, 0)
            connection.seen = now
            return connection
        found = look_at(self.path)
        check_version(self.path, found)
        connection, connection.seen = self._connect_for_reading(now)
        with _closed_on_error(connection):
            connection.allow(LONGEST_SECONDS)
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            found = int(connection.execute("PRAGMA user_version").fetchone()[0])
            check_version(self.path, found)
            check_shape(connection, self.path, found)
            self._check_about(connection)
            connection.execute("ROLLBACK")
            if found < version():
                self._bring_up_to_date()
        return connection

    def _connect_for_reading(self, now: tuple[Any, ...]) -> tuple[Connection, tuple[Any, ...]]:
        """A connection, and what of the file must stay as it is for it to be of use."""
        if self.readonly and not now[4]:
            # Without a log nobody has it open. SQLite would make a log to read it, and nothing is to be written here.
            return connect(self.path, "ro", immutable=True), now
        return connect(self.path, "ro" if self.readonly else "rw"), now[:2]

    def _open_writer(self) -> Connection:
        self._check_open()
        now = look(self.path)[:2]
        if self._writer is not None and self._writer.seen == now:
            return self._writer
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if now == NOTHING[:2]:
            make(self.path, self.dictionary)
        found = look_at(self.path)
        check_version(self.path, found)
        connection = connect(self.path, "rw")
        with _closed_on_error(connection):
            connection.seen = look(self.path)[:2]
            self._migrate(connection)
            self._check_about(connection)
        self._writer = connection
        return connection

    def _bring_up_to_date(self) -> None:
        if self.readonly:
            raise ArtifactError(f"{self.path} has an older format of notes; open it once for writing")
        with self.write():
            pass

    def _migrate(self, connection: Connection) -> None:
        """In one transaction, and only if what is there is what that version declares."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            found = int(connection.execute("PRAGMA user_version").fetchone()[0])
            check_version(self.path, found)
            check_shape(connection, self.path, found)
            if found < version():
                migrate(connection, found)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _check_about(self, connection: Connection) -> None:
        """Raises InputError: the notes are on another autoencoder."""
        about = dict(connection.execute("SELECT key, value FROM about LIMIT 100").fetchall())
        theirs = about.get("sae_fingerprint"), about.get("num_latents")
        if theirs != (self.dictionary.fingerprint, str(self.dictionary.num_latents)):
            fingerprint, latents = (one_line(str(value), MOST_QUOTED) for value in theirs)
            raise InputError(
                f"the notes in {self.path} are on the SAE {fingerprint[:12]} with {latents} latents, this index is of "
                f"{self.dictionary.fingerprint[:12]} with {self.dictionary.num_latents}; move the notes to an index of "
                "their SAE, or move them away"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise InputError(f"{self.path} was closed; open it again")


@contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
