"""Notebook: what people wrote about the features of a dictionary and what was measured of them, as pages show it.

Notes lie beside the index and may be damaged, newer or unreadable while the index is well: pages then show the features
and say what is wrong with the notes. Nothing is opened before there is something to read.
"""

from __future__ import annotations

import getpass
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.core.sqlite import notes_beside
from lexiscope.index.notes import By, Dictionary, Label, Notes
from lexiscope.web.view import View

Answer = TypeVar("Answer")


class ShownScore(View):
    """How well a label does by one measure."""

    name: str
    value: float
    low: float | None
    high: float | None


class ShownLabel(View):
    """What somebody says that a feature is about."""

    id: int
    text: str
    author: str
    kind: str
    """Of author: human, model or heuristic."""
    written_at: datetime
    chosen: bool
    pinned: bool
    scores: list[ShownScore]


class ShownNote(View):
    """Free text on a feature."""

    note: int
    text: str
    author: str
    written_at: datetime


class Marks(View):
    """Everything that people and models wrote about a feature."""

    labels: list[ShownLabel]
    """The one to show first; without any, the feature is unlabelled."""
    notes: list[ShownNote]
    tags: list[str]
    bookmarked_by: list[str]
    problem: str | None = None
    """Why nothing that was written can be shown."""


NOTHING = Marks(labels=[], notes=[], tags=[], bookmarked_by=[])


def whoever_runs_this() -> str:
    """The name that marks are written under where nobody gives one."""
    try:
        return getpass.getuser()[:200] or "somebody"
    except (OSError, KeyError, ImportError):
        return "somebody"


class Notebook:
    """The notes of one index. Safe to share between threads."""

    def __init__(self, index: Artifact) -> None:
        self._index = index
        self._path = notes_beside(index.path)
        self._opened: dict[bool, Notes] = {}
        self._lock = threading.Lock()

    def marks(self, feature: int) -> Marks:
        """What was written about a feature."""
        try:
            return self.read(lambda notes: _marks(notes, feature), NOTHING)
        except LexiscopeError as error:
            return Marks(labels=[], notes=[], tags=[], bookmarked_by=[], problem=str(error))

    def labels(self, features: Sequence[int]) -> dict[int, str]:
        """The label of each feature that has one."""
        nothing: dict[int, Label] = {}
        try:
            chosen = self.read(lambda notes: notes.labels.chosen(features), nothing)
        except LexiscopeError:
            return {}
        return {feature: label.text for feature, label in chosen.items()}

    def marked(self, how: Literal["labelled", "bookmarked"]) -> set[int]:
        """The features that have a label, or a bookmark of anybody.

        Raises:
            LexiscopeError: the notes can't be read.
        """
        nothing: set[int] = set()
        return self.read(lambda notes: _features(notes, how), nothing)

    def read(self, ask: Callable[[Notes], Answer], nothing: Answer) -> Answer:
        """Ask the notes; where nobody has written any, the answer is known.

        Raises:
            LexiscopeError: they can't be read.
        """
        return ask(self._notes(readonly=True)) if self._path.exists() else nothing

    def write(self, change: Callable[[Notes], Any]) -> None:
        """Change the notes. When this returns, what was written is on the disk.

        Raises:
            LexiscopeError: it can't be written.
        """
        change(self._notes(readonly=False))

    def _notes(self, *, readonly: bool) -> Notes:
        with self._lock:
            if readonly not in self._opened:
                sae = self._index.source("sae")
                if sae is None:
                    raise InputError("this index doesn't say of which SAE it is, so nothing can be noted about it")
                about = Dictionary(sae["fingerprint"], self._index.config["num_latents"])
                self._opened[readonly] = Notes(self._path, about, readonly=readonly)
            return self._opened[readonly]


def _features(notes: Notes, how: Literal["labelled", "bookmarked"]) -> set[int]:
    where = {
        "labelled": "SELECT feature FROM labels WHERE chosen = 1",
        "bookmarked": "SELECT feature FROM bookmarks WHERE ended_at IS NULL",
    }
    with notes.database.read() as connection:
        return {int(feature) for (feature,) in connection.execute(where[how])}


def _marks(notes: Notes, feature: int) -> Marks:
    return Marks(
        labels=[_label(label) for label in notes.labels.of(feature)],
        notes=[
            ShownNote(note=note.note, text=note.text, author=note.by.author, written_at=note.created_at)
            for note in notes.texts.of(feature)
        ],
        tags=[tag.text for tag in notes.tags.of(feature)],
        bookmarked_by=sorted({mark.by.author for mark in notes.bookmarks.of(feature)}),
    )


def _label(label: Label) -> ShownLabel:
    newest = {score.name: score for score in sorted(label.scores, key=lambda score: (score.created_at, score.id))}
    return ShownLabel(
        id=label.id,
        text=label.text,
        author=label.by.author,
        kind=label.by.kind,
        written_at=label.created_at,
        chosen=label.chosen,
        pinned=label.pinned,
        scores=[
            ShownScore(name=score.name, value=score.value, low=score.low, high=score.high) for score in newest.values()
        ],
    )


def by(author: str) -> By:
    return By(author=author or whoever_runs_this())
