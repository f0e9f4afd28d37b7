"""Sheet: notes as CSV. A spreadsheet runs a cell that begins like a formula, so such a cell gets an apostrophe.

Reading takes away one apostrophe where taking it away leaves such a cell, so every text comes back as it was.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from lexiscope.core.config import describe
from lexiscope.core.errors import InputError
from lexiscope.index.notes.connection import MOST_BYTES
from lexiscope.index.notes.lines import AnyLine
from lexiscope.index.notes.values import By, Value

_RUN = re.compile(r"'*[=+\-@\t\r\n]")
_BY = {"author_kind" if name == "kind" else name: name for name in By.model_fields}
"""Column → what of the writer; results have a kind of their own."""
_JSON = {"scores", "payload", "ended_by", "label_by"}


def write_rows(lines: Iterable[Value], of: type[Value]) -> Iterator[str]:
    """A line of names, then one for each; with their ends."""
    names = [name for name in of.model_fields if name not in {"by", "what"}]
    yield _row([*names, *_BY])
    for line in lines:
        plain = line.model_dump(mode="json")
        who = plain["by"]
        yield _row(
            [*(_cell(name, plain[name]) for name in names), *(_cell(name, who[of_by]) for name, of_by in _BY.items())]
        )


def read_rows(lines: Iterable[str], of: type[AnyLine]) -> Iterator[AnyLine]:
    """What `write_rows` made; columns in any order, those that may be empty may be missing.

    Raises:
        InputError: a row is something else, with its number.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MOST_BYTES))
    rows = csv.reader(lines, strict=True)
    try:
        names = next(rows, [])
        for row in rows:
            if row:
                yield _line(dict(zip(names, row, strict=True)), of)
    except ValidationError as error:
        raise InputError(f"line {rows.line_num} is none ({describe(error)}); take it out, or mend it") from None
    except (csv.Error, ValueError, RecursionError) as error:
        raise InputError(f"line {rows.line_num} can't be read ({error}); take it out, or mend it") from None


def _line(cells: dict[str, str], of: type[AnyLine]) -> AnyLine:
    values: dict[str, Any] = {}
    by: dict[str, Any] = {}
    for name, cell in cells.items():
        text = cell[1:] if cell.startswith("'") and _RUN.match(cell) else cell
        if text:
            if name in _BY:
                by[_BY[name]] = text
            else:
                values[name] = json.loads(text) if name in _JSON else text
    return of.model_validate({**values, "by": by})


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if name in _JSON else str(value)
    return "'" + text if _RUN.match(text) else text


def _row(cells: list[str]) -> str:
    made = io.StringIO()
    csv.writer(made).writerow(cells)
    return made.getvalue()
