"""Exchange: notes as JSON Lines and as CSV, out of one file and into another. History goes along.

What is there already (the same, by the same, at the same time) is left as it is, so the same file may be read twice.
"""
# ruff: noqa: S608 - what is put into SQL here are names of our own; values from outside are parameters

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from lexiscope.core.config import describe
from lexiscope.core.disk import json_text
from lexiscope.core.errors import InputError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.index.notes.database import Database
from lexiscope.index.notes.labels import LABELS, PINS, Labels
from lexiscope.index.notes.lines import (
    LINE,
    VERSION,
    BookmarkLine,
    HeadLine,
    ItemLine,
    LabelLine,
    Line,
    ListLine,
    NoteLine,
    PinLine,
    RatingLine,
    ResultLine,
    RowLine,
    TagLine,
    What,
)
from lexiscope.index.notes.lists import ITEMS, LISTS, RESULTS
from lexiscope.index.notes.marks import BOOKMARKS, NOTES, RATINGS, TAGS
from lexiscope.index.notes.room import Room
from lexiscope.index.notes.sheet import read_rows, write_rows
from lexiscope.index.notes.table import Table, as_list, microseconds, source_of
from lexiscope.index.notes.values import TOOL, Added, Label, Measured, NewScore
from lexiscope.index.notes.words import file_away, learn, words_of

_ROWS: dict[str, tuple[Table[Any], type[RowLine]]] = {
    "rating": (RATINGS, RatingLine),
    "bookmark": (BOOKMARKS, BookmarkLine),
    "tag": (TAGS, TagLine),
    "note": (NOTES, NoteLine),
    "list": (LISTS, ListLine),
    "item": (ITEMS, ItemLine),
    "result": (RESULTS, ResultLine),
}
_AT_ONCE = 2000
_SEARCHABLE = {TAGS.name, NOTES.name}
_KEYS = {NOTES.name: "note", LISTS.name: "list"}
"""Columns by which the versions of one thing belong together: the number of the first."""


class Exchange(Room):
    """Notes to pass on, and notes that others passed on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._labels = Labels(database)

    def json_lines(self) -> Iterator[str]:
        """Everything, also what was replaced or removed, each line with its end."""
        about = self.database.dictionary
        yield _text(HeadLine(sae_fingerprint=about.fingerprint, num_latents=about.num_latents, tool=TOOL))
        for what in ("label", "pin", *_ROWS):
            yield from map(_text, self._lines(what))

    def csv_lines(self, what: What) -> Iterator[str]:
        """One kind of thing, for a spreadsheet. Cells that one would run start with an apostrophe."""
        return write_rows(self._lines(what), _line_of(what))

    def read_json_lines(self, lines: Iterable[str | bytes], progress: Progress = SILENT) -> Added:
        """What `json_lines` made.

        Raises:
            InputError: a line is something else, or on another autoencoder; what comes before it may have been read.
        """
        return self._read(_parsed(lines), progress)

    def read_csv_lines(self, what: What, lines: Iterable[str], progress: Progress = SILENT) -> Added:
        """What `csv_lines` made of one kind of thing.

        Args:
            lines: as they are in the file, with their ends (``open(..., newline="")``).

        Raises:
            InputError: a row is something else; what comes before it may have been read.
        """
        return self._read(read_rows(lines, _line_of(what)), progress)

    def _lines(self, what: str) -> Iterator[Any]:
        """A piece at a time, so that nobody waits for whoever reads them slowly."""
        table = LABELS if what == "label" else PINS if what == "pin" else _ROWS[what][0]
        last = 0
        while True:
            with self.database.read() as tx:
                rows = table.select(tx, "t.id > ?", [last], history=True, order="t.id", limit=_AT_ONCE)
                if not rows:
                    return
                last = rows[-1].id
                made = list(self._made(tx, what, rows))
            yield from made

    def _made(self, tx: sqlite3.Connection, what: str, rows: list[Any]) -> Iterator[Any]:
        if what == "label":
            yield from map(_label_line, self._labels.filled(tx, rows))
        elif what == "pin":
            ids = as_list(pin.label for pin in rows)
            found = LABELS.select(tx, "t.id IN (SELECT value FROM json_each(?))", [ids], history=True)
            labels = {label.id: label for label in found}
            for pin in rows:
                if (of := labels.get(pin.label)) is None:
                    raise sqlite3.DatabaseError("pins: a label that is not there")
                own = pin.model_dump(exclude={"label"})
                yield PinLine(**own, text=of.text, label_by=of.by, label_created_at=of.created_at)
        else:
            line = _ROWS[what][1]
            for row in rows:
                yield line.model_validate(row.model_dump())

    def _read(self, lines: Iterator[Line], progress: Progress) -> Added:
        added = known = 0
        numbers: dict[tuple[str, int], int] = {}
        with progress.task("Notes", None, "lines") as task:
            for labels, run in itertools.groupby(lines, key=lambda line: isinstance(line, LabelLine)):
                if labels:
                    found = self._labels.add_many(line for line in run if isinstance(line, LabelLine))
                    added, known = added + found.added, known + found.known
                    task.advance(found.added + found.known)
                    continue
                while piece := list(itertools.islice(run, _AT_ONCE)):
                    with self.database.write() as tx:
                        new = sum(self._take(tx, line, numbers) for line in piece)
                    rows = sum(not isinstance(line, HeadLine) for line in piece)
                    added, known = added + new, known + rows - new
                    task.advance(rows)
        return Added(added=added, known=known)

    def _take(self, tx: sqlite3.Connection, line: Line, numbers: dict[tuple[str, int], int]) -> bool:
        """Whether a line said something new.

        Args:
            numbers: (table, number in the file) → number here, for what other lines speak of.
        """
        if isinstance(line, HeadLine):
            self._check_head(line)
            return False
        assert not isinstance(line, LabelLine)
        if (feature := line.feature if not isinstance(line, ListLine) else None) is not None:
            self.check(feature)
        source, at = source_of(tx, line.by), microseconds(line.created_at)
        ended_at = None if line.ended_at is None else microseconds(line.ended_at)
        ended = ended_at, None if line.ended_at is None else source_of(tx, line.ended_by or line.by)
        if isinstance(line, PinLine):
            return self._take_pin(tx, line, (source, at, *ended))
        table = _ROWS[line.what][0]
        own = {name: getattr(line, name) for name in table.columns}
        if "payload" in own:
            own["payload"] = json_text(own["payload"])
        key = _KEYS.get(table.name)
        if isinstance(line, ItemLine):
            own["list"] = numbers.get((LISTS.name, line.list)) or self._list(tx, line.list)
        same = " AND ".join(f"{name} IS ?" for name in own if name != key)
        values = [value for name, value in own.items() if name != key]
        there = tx.execute(
            f"SELECT id{f', {key}' if key else ''} FROM {table.name} WHERE {same} AND source = ? AND created_at = ?",
            [*values, source, at],
        ).fetchone()
        added = there[0] if there else table.next_id(tx)
        if key:
            of = table.name, own[key]
            own[key] = numbers.setdefault(of, there[1] if there else added)
        if there:
            return False
        tx.execute(table.insertion, [added, source, at, *ended, *own.values()])
        if table.name in _SEARCHABLE:
            learn(tx, words_of([own["text"]]))
            file_away(tx, table.name, [added])
        return True

    def _take_pin(self, tx: sqlite3.Connection, line: PinLine, written: tuple[int | None, ...]) -> bool:
        of = [line.feature, line.text, source_of(tx, line.label_by), microseconds(line.label_created_at)]
        label = tx.execute(
            "SELECT id FROM labels WHERE feature = ? AND text = ? AND source = ? AND created_at = ?", of
        ).fetchone()
        if label is None:
            raise InputError(f"a label of feature {line.feature} is pinned that is not there; read its label first")
        there = "SELECT EXISTS (SELECT 1 FROM pins WHERE feature = ? AND label = ? AND source = ? AND created_at = ?)"
        if tx.execute(there, [line.feature, label[0], *written[:2]]).fetchone()[0]:
            return False
        tx.execute(PINS.insertion, [PINS.next_id(tx), *written, line.feature, label[0]])
        self._labels.choose(tx, [line.feature])
        return True

    def _list(self, tx: sqlite3.Connection, number: int) -> int:
        """A list that is here already, for items that come without theirs."""
        if not LISTS.select(tx, "t.list = ?", [number], history=True, limit=1):
            raise InputError(f"something is in a list {number} that is not there; read the lists first")
        return number

    def _check_head(self, line: HeadLine) -> None:
        about = self.database.dictionary
        if line.version != VERSION:
            raise InputError(
                f"these notes have version {line.version}, this Lexiscope reads {VERSION}; "
                "install the one that wrote them"
            )
        if (line.sae_fingerprint, line.num_latents) != (about.fingerprint, about.num_latents):
            raise InputError(
                f"these notes are on the SAE {line.sae_fingerprint[:12]} with {line.num_latents} latents, not on "
                f"{about.fingerprint[:12]} with {about.num_latents}; read them into the notes of their own SAE"
            )


def _label_line(label: Label) -> LabelLine:
    """What is the same for a score as for its label is said once. Nothing is checked again, it was when it was read."""
    scores = [
        NewScore.model_construct(
            **{name: getattr(score, name) for name in Measured.model_fields},
            by=None if score.by == label.by else score.by,
            created_at=None if score.created_at == label.created_at else score.created_at,
        )
        for score in label.scores
    ]
    own = {name: getattr(label, name) for name in ("feature", "text", "by", "created_at", "ended_at", "ended_by")}
    return LabelLine.model_construct(**own, scores=tuple(scores))


def _line_of(what: str) -> type[Any]:
    known = {"label": LabelLine, "pin": PinLine, **{name: line for name, (_, line) in _ROWS.items()}}
    if what not in known:
        raise InputError(f"there is no {what!r} among notes; give one of {', '.join(known)}")
    return known[what]


def _text(line: Line) -> str:
    return line.model_dump_json(exclude_none=isinstance(line, LabelLine)) + "\n"


def _parsed(lines: Iterable[str | bytes]) -> Iterator[Line]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield LINE.validate_json(line)
            except ValidationError as error:
                raise InputError(f"line {number} is no note ({describe(error)}); take it out, or mend it") from None
