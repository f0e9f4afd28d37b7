"""Lines: what a line of exported notes says. One for each row; of labels with their scores."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from lexiscope.index.notes.values import (
    Bookmark,
    By,
    Count,
    FeatureList,
    ListItem,
    Moment,
    NewLabel,
    Note,
    Rating,
    Result,
    Tag,
    Text,
    Value,
    Written,
)

VERSION = 1


class HeadLine(Value):
    """The first line of a file: whose features these are."""

    what: Literal["notes"] = "notes"
    version: int = VERSION
    sae_fingerprint: str
    num_latents: int
    tool: str


class LabelLine(NewLabel):
    what: Literal["label"] = "label"


class PinLine(Written):
    """A label is named by what it says and who said so when."""

    what: Literal["pin"] = "pin"
    feature: Count
    text: Text
    label_by: By
    label_created_at: Moment


class RatingLine(Rating):
    what: Literal["rating"] = "rating"


class BookmarkLine(Bookmark):
    what: Literal["bookmark"] = "bookmark"


class TagLine(Tag):
    what: Literal["tag"] = "tag"


class NoteLine(Note):
    what: Literal["note"] = "note"


class ListLine(FeatureList):
    what: Literal["list"] = "list"


class ItemLine(ListItem):
    what: Literal["item"] = "item"


class ResultLine(Result):
    what: Literal["result"] = "result"


RowLine = RatingLine | BookmarkLine | TagLine | NoteLine | ListLine | ItemLine | ResultLine
"""Whose fields are the columns of a table."""
Line = HeadLine | LabelLine | PinLine | RowLine
What = Literal["label", "pin", "rating", "bookmark", "tag", "note", "list", "item", "result"]
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="what")])
AnyLine = TypeVar("AnyLine", bound=Value)
