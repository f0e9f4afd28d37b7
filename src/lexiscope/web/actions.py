"""Actions: what pages send. Each is a POST of JSON to an address below a page's; the guard has let it in before.

An answer is given when what it acknowledges is on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from lexiscope.index.notes import Notes
from lexiscope.steer.confirming.pairs import LEAST_PAIRS, Pair
from lexiscope.steer.experiments.findings import Confirmed
from lexiscope.web import missed, tested
from lexiscope.web.ablated import Ablated, measure
from lexiscope.web.notebook import Marks, by
from lexiscope.web.pages.common import AnyLibrary
from lexiscope.web.reader import MAX_PAIRS

_WITHOUT_NUL = r"^[^\x00]*$"
"""SQLite ends text there."""
Author = Annotated[str, Field(max_length=200, pattern=_WITHOUT_NUL)]
Short = Annotated[str, Field(min_length=1, max_length=200, pattern=_WITHOUT_NUL)]
Long = Annotated[str, Field(min_length=1, max_length=2_000, pattern=_WITHOUT_NUL)]
Prompt = Annotated[str, Field(min_length=1, max_length=500, pattern=_WITHOUT_NUL)]
Number = Annotated[int, Field(ge=0, lt=2**53)]


class Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    author: Author = ""
    """Who does it; left out: whoever started Lexiscope."""


class AddText(Sent):
    """Write a label, or a note."""

    action: Literal["label", "note"]
    text: Long


class ChangeTag(Sent):
    """Give the feature a tag, or take one away."""

    action: Literal["tag", "untag"]
    text: Short


class ChangeBookmark(Sent):
    """Bookmark the feature, or no longer."""

    action: Literal["bookmark", "unbookmark"]


class ChangeLabel(Sent):
    """Make a label the one to show, or take it away. One that is gone already is no error."""

    action: Literal["pin", "remove_label"]
    label: Number


class RemoveNote(Sent):
    """Take a note away. One that is gone already is no error."""

    action: Literal["remove_note"]
    note: Number


class ShortPair(Pair):
    """Two prompts, and what the model should write after each. Answers begin with white space where its tokens do."""

    prompt: Prompt
    answer: Short
    other_prompt: Prompt
    other_answer: Short


class AskConfirmation(Sent):
    """Say what a feature stands for, and give held-out pairs of prompts that show whether it does."""

    hypothesis: Annotated[str, Field(min_length=1, max_length=500, pattern=_WITHOUT_NUL)]
    pairs: list[ShortPair] = Field(json_schema_extra={"minItems": LEAST_PAIRS, "maxItems": MAX_PAIRS})
    """Not those on which the feature was chosen; 8 to 64. The reader says so better."""


Change = Annotated[AddText | ChangeTag | ChangeBookmark | ChangeLabel | RemoveNote, Field(discriminator="action")]


def mark(library: AnyLibrary, name: str, feature: int, change: Change) -> Marks:
    """Write something about a feature; gives everything that is written about it then."""
    found = library.dictionary(name)
    found.index.check(feature)
    found.notebook.write(lambda notes: _do(notes, feature, change))
    return found.notebook.marks(feature)


def ablate(library: AnyLibrary, name: str, feature: int, asked: Sent) -> Ablated:
    """Take a feature out of its examples, and keep what that does."""
    found = library.dictionary(name)
    return measure(found, found.index.feature(feature), asked.author)


def near_misses(library: AnyLibrary, name: str, feature: int, asked: Sent) -> missed.ShownMisses:
    """Look for places where a feature almost fires, and keep them."""
    found = library.dictionary(name)
    return missed.measure(found, found.index.feature(feature), asked.author)


def confirm(library: AnyLibrary, name: str, feature: int, asked: AskConfirmation) -> Confirmed:
    """Patch a feature between pairs of prompts, and keep what that finds."""
    found = library.dictionary(name)
    found.index.check(feature)
    return tested.confirm(found, feature, asked.hypothesis, asked.pairs, asked.author)


class Action(NamedTuple):
    path: str
    do: Callable[..., Any]


ACTIONS = (
    Action("/d/{name}/features/{feature:int}/marks.json", mark),
    Action("/d/{name}/features/{feature:int}/ablation.json", ablate),
    Action("/d/{name}/features/{feature:int}/near-misses.json", near_misses),
    Action("/d/{name}/features/{feature:int}/confirmation.json", confirm),
)


def _do(notes: Notes, feature: int, change: Change) -> None:
    author = by(change.author)
    match change:
        case AddText(action="label"):
            notes.labels.add(feature, change.text, author)
        case AddText():
            notes.texts.add(feature, change.text, author)
        case ChangeTag(action="tag"):
            notes.tags.add(feature, change.text, author)
        case ChangeTag():
            notes.tags.remove(feature, change.text, author)
        case ChangeBookmark(action="bookmark"):
            notes.bookmarks.add(feature, author)
        case ChangeBookmark():
            notes.bookmarks.remove(feature, author)
        case ChangeLabel():
            if any(label.id == change.label for label in notes.labels.of(feature)):
                (notes.labels.pin if change.action == "pin" else notes.labels.remove)(change.label, author)
        case RemoveNote():
            if any(note.note == change.note for note in notes.texts.of(feature)):
                notes.texts.remove(change.note, author)
