"""What people and models write about features: labels, ratings, bookmarks, tags, notes, lists, results."""

from __future__ import annotations

from lexiscope.index.notes.connection import BusyError
from lexiscope.index.notes.place import Dictionary
from lexiscope.index.notes.search import Found, Hit
from lexiscope.index.notes.store import Notes
from lexiscope.index.notes.values import (
    Added,
    Bookmark,
    By,
    FeatureList,
    Label,
    ListItem,
    NewLabel,
    NewScore,
    Note,
    Rating,
    Result,
    Score,
    Tag,
)

__all__ = [
    "Added",
    "Bookmark",
    "BusyError",
    "By",
    "Dictionary",
    "FeatureList",
    "Found",
    "Hit",
    "Label",
    "ListItem",
    "NewLabel",
    "NewScore",
    "Note",
    "Notes",
    "Rating",
    "Result",
    "Score",
    "Tag",
]
