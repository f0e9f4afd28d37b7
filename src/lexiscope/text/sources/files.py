"""Files and folders: plain text, JSON Lines and Parquet.

``.jsonl`` and ``.ndjson`` hold one JSON object per line, ``.parquet`` one text per row, anything else is UTF-8 text and
one document per file; a single text file is read in passages of some pages, each a document. A folder is searched
below, hidden files left out. The seed orders files; records stay in the order of their file.

What is wrong, and what happens:
    nothing at the path, a Parquet file without the column          CorpusError
    devices, pipes, links in a circle or to nowhere                 left out
    an unreadable file, invalid UTF-8, a damaged Parquet file       the rest of the file is skipped and counted
    a broken JSON line, one above 8 MiB, no text in it              the record is skipped and counted
    a long text, whatever the length of its lines                   given in pieces, counted as split
What makes any text unusable, such as NUL characters, or long, see `Corpus`.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lexiscope.core.errors import CorpusError
from lexiscope.core.parquet import connect, literal
from lexiscope.text.document import Document
from lexiscope.text.pieces import pieces
from lexiscope.text.report import ReadReport
from lexiscope.text.sources.base import shuffled

_MAX_LINE_BYTES = 8 * 2**20
PASSAGE_CHARACTERS = 2**14
_PARQUET_ROWS = 64
"""Rows fetched at once."""
_MOST_ROWS_PER_BYTE = 100
"""Of a Parquet file. Texts have fewer; a small file of nothing would be read for days."""
_JSON_LINES = {".jsonl", ".ndjson"}
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev")
_CODE = {".c", ".cc", ".cpp", ".cs", ".css", ".go", ".h", ".hpp", ".java", ".js", ".json", ".kt", ".php", ".pl", ".py"}
_CODE |= {".r", ".rb", ".rs", ".scala", ".sh", ".sql", ".swift", ".toml", ".ts", ".xml", ".yaml", ".yml"}
_DOCS = {".htm", ".html", ".md", ".rst", ".tex"}


class Files:
    """A file, or a folder of files.

    Raises:
        CorpusError: nothing at the path.
    """

    endless = False

    def __init__(self, path: Path, text_column: str) -> None:
        if not path.exists():
            raise CorpusError(f"no file or folder at {path}; give a path that exists")
        self._path = path
        self._root = path if path.is_dir() else path.parent
        self._text_column = text_column

    def documents(self, seed: int, report: ReadReport) -> Iterator[Document]:
        for path in shuffled(self._files(), seed, "files"):
            name = _readable(path.relative_to(self._root))
            try:
                for part, text in self._texts(path, report):
                    yield Document(f"files:{name}{part}", text, _kind(path), "unknown")
            except OSError:
                report.skip("unreadable file")

    def revision(self) -> str:
        sizes = [f"{_readable(path.relative_to(self._root))} {path.stat().st_size}" for path in self._files()]
        return f"files {hashlib.sha256(chr(10).join(sizes).encode()).hexdigest()[:16]}"

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path] if _is_text(self._path) else []
        found = []
        for folder, inner, names in os.walk(self._path):
            inner[:] = [name for name in inner if not name.startswith(".")]
            paths = (Path(folder, name) for name in names if not name.startswith("."))
            found += [path for path in paths if _is_text(path)]
        return sorted(found)

    def _texts(self, path: Path, report: ReadReport) -> Iterator[tuple[str, str]]:
        """(suffix of the id, text) of everything in one file."""
        if path.suffix.lower() == ".parquet":
            yield from self._parquet(path, report)
        elif path.suffix.lower() in _JSON_LINES:
            yield from self._json_lines(path, report)
        else:
            yield from _passages(path, report) if path == self._path else _plain(path, report)

    def _json_lines(self, path: Path, report: ReadReport) -> Iterator[tuple[str, str]]:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                if line is None:
                    report.skip("line longer than 8 MiB")
                elif line.strip():
                    text = _text_of(line, self._text_column, report)
                    if text is not None:
                        yield f":{number}", text

    def _parquet(self, path: Path, report: ReadReport) -> Iterator[tuple[str, str]]:
        import duckdb

        with connect(threads=1, memory=None) as connection:
            try:
                table = connection.read_parquet(literal(path))
                strings = [name for name, kind in zip(table.columns, table.types, strict=True) if kind == "VARCHAR"]
                if self._text_column not in strings:
                    raise CorpusError(
                        f"{path} has no column {self._text_column!r} of strings; it has: {', '.join(strings)}. "
                        "Name one with text_column"
                    )
                table.select(duckdb.ColumnExpression(self._text_column)).create_view("texts")
                rows = connection.execute("FROM texts")
                number, most = 0, _MOST_ROWS_PER_BYTE * (_PARQUET_ROWS + path.stat().st_size)
                while batch := rows.fetchmany(_PARQUET_ROWS):
                    for (text,) in batch:
                        if text is None:
                            report.skip("record without text")
                        else:
                            yield f":{number}", text
                        number += 1
                    if number > most:
                        report.skip("Parquet file that claims to hold far more than its size")
                        return
            except (duckdb.Error, RuntimeError):  # RuntimeError: names or texts in it that are not UTF-8
                report.skip("damaged Parquet file")


def _is_text(path: Path) -> bool:
    """Whether it is a file that ends, as devices and what the system shows of itself need not."""
    try:
        real = path.resolve(strict=True)
        return stat.S_ISREG(real.stat().st_mode) and not any(real.is_relative_to(place) for place in _OF_THE_SYSTEM)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
        return False


class _NotText(Exception):  # noqa: N818 - a signal between two functions, not an error that anyone sees
    """The file stops being text; the argument is the reason to count."""


def _plain(path: Path, report: ReadReport) -> Iterator[tuple[str, str]]:
    """A text file; in pieces when it is long. Pieces given before the first bad byte stay given."""
    with path.open("rb") as file:
        texts = pieces(_decoded(file))
        try:
            first = next(texts, "")
            second = next(texts, None)
            if second is None:
                yield "", first
                return
            report.split += 1
            for number, text in enumerate(itertools.chain([first, second], texts)):
                yield f"#{number}", text
        except _NotText as reason:
            report.skip(str(reason))


def _passages(path: Path, report: ReadReport) -> Iterator[tuple[str, str]]:
    """One text file that is the whole corpus: each passage of it a document, or nothing could be held out."""
    with path.open("rb") as file:
        try:
            for number, text in enumerate(pieces(_decoded(file), PASSAGE_CHARACTERS)):
                yield f":{number}", text
        except _NotText as reason:
            report.skip(str(reason))


def _decoded(file: BinaryIO) -> Iterator[str]:
    """The text of a file in blocks of 1 MiB."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    block = b"start"
    try:
        while block:
            block = file.read(2**20)
            if b"\0" in block:
                raise _NotText("NUL characters")
            yield decoder.decode(block, final=not block)
    except UnicodeDecodeError:
        raise _NotText("not UTF-8") from None


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines of a file; None for one that is too long, which is passed over without being held."""
    while line := file.readline(_MAX_LINE_BYTES):
        if len(line) < _MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
        else:
            while (rest := file.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None


def _text_of(line: bytes, column: str, report: ReadReport) -> str | None:
    """The text of one JSON line; None, and a count, when there is none."""
    try:
        record: Any = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        report.skip("not UTF-8")
        return None
    except (ValueError, RecursionError):
        report.skip("broken JSON line")
        return None
    if not isinstance(record, dict) or column not in record:
        report.skip(f"record without {column!r}")
        return None
    if not isinstance(record[column], str):
        report.skip(f"{column!r} that is not a string")
        return None
    return str(record[column])


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return "code" if suffix in _CODE else "docs" if suffix in _DOCS else "prose"


def _readable(path: Path) -> str:
    """A path in POSIX form; bytes in it that are not UTF-8 are spelt out, so that it can be written anywhere."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
