r"""Exports: rows as CSV (RFC 4180) that no spreadsheet takes for a formula, written as they come.

Text from a model can begin with ``=``. A cell of text gets an apostrophe in front where a spreadsheet might calculate
it, or where it has one already, so that one apostrophe can always be taken off. What does not print is written as in
Python (``\n``, ``\x1b``, ``\u202e``), and a backslash doubled: a row stays one line, and nothing in it is hidden.
Numbers stay numbers; a list or a table is one cell of JSON; nothing is an empty cell.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from starlette.responses import StreamingResponse

_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠'\t\r]")  # noqa: RUF001 - some spreadsheets take the full-width signs, too
_CHUNK_CHARACTERS = 32 * 1024
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)
_SHORT = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


class CsvResponse(StreamingResponse):
    """Rows as a file to keep."""

    media_type = "text/csv"

    def __init__(self, rows: Iterable[BaseModel | Mapping[str, Any]], name: str) -> None:
        file = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "rows"
        headers = {"Content-Disposition": f'attachment; filename="{file}.csv"'}
        super().__init__(csv_lines(rows), media_type="text/csv; charset=utf-8; header=present", headers=headers)


def csv_lines(rows: Iterable[BaseModel | Mapping[str, Any]]) -> Iterator[str]:
    """The lines of a CSV file, some at a time. The first row names the columns; without rows nothing does."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    columns: list[str] = []
    for row in rows:
        values = row.model_dump(mode="json") if isinstance(row, BaseModel) else row
        if not columns:
            columns = list(values)
            writer.writerow([text_cell(column) for column in columns])
        writer.writerow([cell(values.get(column)) for column in columns])
        if buffer.tell() > _CHUNK_CHARACTERS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue()


def cell(value: Any) -> str:
    """One value as the text of its cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return text_cell(value)
    return text_cell(json.dumps(to_jsonable_python(value), ensure_ascii=False, separators=(",", ":")))


def text_cell(text: str) -> str:
    shown = "".join(map(_shown, text))
    return f"'{shown}" if _FORMULA.match(text) or _FORMULA.match(shown) else shown


def text_of(cell: str) -> str:
    """The text that a cell was made from."""
    return _ESCAPE.sub(_unescaped, cell.removeprefix("'"))


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else _SHORT.get(found[4], found[0])
