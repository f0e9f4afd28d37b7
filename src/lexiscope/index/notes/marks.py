"""What people leave on features: ratings, bookmarks, tags, free text. What is replaced or removed stays as history."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from lexiscope.core.errors import InputError
from lexiscope.index.notes.room import Room
from lexiscope.index.notes.table import Table, as_list, microseconds, source_of
from lexiscope.index.notes.values import Bookmark, By, LongText, Name, Note, Rating, Tag, Value
from lexiscope.index.notes.words import file_away, learn, take_out, words_of

RATINGS = Table("ratings", Rating, "feature", "items", "scale", "value")
BOOKMARKS = Table("bookmarks", Bookmark, "feature")
TAGS = Table("tags", Tag, "feature", "text")
NOTES = Table("notes", Note, "feature", "text", "note")
_OF_AUTHOR = "w.name = ?"


class _Rated(Value):
    items: Name
    scale: Name
    value: float


class _Tagged(Value):
    text: Name


class _Noted(Value):
    text: LongText


class Ratings(Room):
    """What humans said of features without knowing which they were."""

    def add(self, feature: int, items: str, scale: str, value: float, by: By) -> Rating:
        """Write a rating down; an earlier one by the same rater for the same items and scale is replaced.

        Args:
            items: hash of what was shown.
        """
        self.check(feature)
        rated = self.valid(_Rated, items=items, scale=scale, value=value)
        with self.database.write() as tx:
            source, now = source_of(tx, by), microseconds()
            where = f"t.feature = ? AND t.items = ? AND t.scale = ? AND {_OF_AUTHOR}"
            earlier = RATINGS.select(tx, where, [feature, rated.items, rated.scale, by.author])
            RATINGS.end(tx, [rating.id for rating in earlier], source, now)
            added = RATINGS.insert(tx, source, now, feature, rated.items, rated.scale, rated.value)
            return RATINGS.select(tx, "t.id = ?", [added])[0]

    def of(self, feature: int, *, history: bool = False) -> list[Rating]:
        """Of one feature, newest first."""
        with self.database.read() as tx:
            return RATINGS.select(tx, "t.feature = ?", [feature], history=history)

    def on(self, items: str, *, history: bool = False) -> list[Rating]:
        """Of one set of items, newest first."""
        with self.database.read() as tx:
            return RATINGS.select(tx, "t.items = ?", [items], history=history)


class Bookmarks(Room):
    """Features that people want to find again, each their own."""

    def add(self, feature: int, by: By) -> Bookmark:
        """Twice is once."""
        self.check(feature)
        with self.database.write() as tx:
            if not (found := self._of(tx, feature, by.author)):
                BOOKMARKS.insert(tx, source_of(tx, by), microseconds(), feature)
                found = self._of(tx, feature, by.author)
            return found[0]

    def remove(self, feature: int, by: By) -> None:
        """One's own; none is no error."""
        with self.database.write() as tx:
            own = self._of(tx, feature, by.author)
            BOOKMARKS.end(tx, [bookmark.id for bookmark in own], source_of(tx, by), microseconds())

    def of(self, feature: int, *, history: bool = False) -> list[Bookmark]:
        """Of one feature, newest first."""
        with self.database.read() as tx:
            return BOOKMARKS.select(tx, "t.feature = ?", [feature], history=history)

    def all(self, author: str | None = None, *, limit: int = 100, offset: int = 0) -> list[Bookmark]:
        """Newest first."""
        where, values = ("true", []) if author is None else (_OF_AUTHOR, [author])
        with self.database.read() as tx:
            return BOOKMARKS.select(tx, where, values, limit=limit, offset=offset)

    def _of(self, tx: sqlite3.Connection, feature: int, author: str) -> list[Bookmark]:
        return BOOKMARKS.select(tx, f"t.feature = ? AND {_OF_AUTHOR}", [feature, author])


class Tags(Room):
    """Words that group features. A feature has a tag once, whoever gave it."""

    def add(self, feature: int, text: str, by: By) -> Tag:
        """Twice is once."""
        self.check(feature)
        tag = self.valid(_Tagged, text=text)
        with self.database.write() as tx:
            if not (found := self._of(tx, feature, tag.text)):
                added = TAGS.insert(tx, source_of(tx, by), microseconds(), feature, tag.text)
                learn(tx, words_of([tag.text]))
                file_away(tx, TAGS.name, [added])
                found = self._of(tx, feature, tag.text)
            return found[0]

    def remove(self, feature: int, text: str, by: By) -> None:
        """Whoever gave it; none is no error."""
        with self.database.write() as tx:
            ids = [tag.id for tag in self._of(tx, feature, text)]
            take_out(tx, TAGS.name, ids)
            TAGS.end(tx, ids, source_of(tx, by), microseconds())

    def of(self, feature: int, *, history: bool = False) -> list[Tag]:
        """Of one feature, oldest first."""
        with self.database.read() as tx:
            return TAGS.select(tx, "t.feature = ?", [feature], history=history, order="t.id")

    def of_many(self, features: Iterable[int]) -> dict[int, list[Tag]]:
        """Of several features, oldest first."""
        found: dict[int, list[Tag]] = {}
        with self.database.read() as tx:
            where = "t.feature IN (SELECT value FROM json_each(?))"
            for tag in TAGS.select(tx, where, [as_list(features)], order="t.id"):
                found.setdefault(tag.feature, []).append(tag)
        return found

    def features(self, text: str) -> list[int]:
        """Those that have a tag, ascending."""
        with self.database.read() as tx:
            rows = tx.execute(
                "SELECT DISTINCT feature FROM tags WHERE text = ? AND ended_at IS NULL ORDER BY 1", [text]
            )
            return [feature for (feature,) in rows if isinstance(feature, int)]

    def counts(self, limit: int = 1000) -> dict[str, int]:
        """How many features have each tag, the most frequent first."""
        with self.database.read() as tx:
            rows = tx.execute(
                "SELECT text, count(DISTINCT feature) FROM tags WHERE ended_at IS NULL GROUP BY text "
                "ORDER BY 2 DESC, 1 LIMIT ?",
                [limit],
            )
            return {str(text): int(count) for text, count in rows}

    def _of(self, tx: sqlite3.Connection, feature: int, text: str) -> list[Tag]:
        return TAGS.select(tx, "t.feature = ? AND t.text = ?", [feature, text])


class Texts(Room):
    """Free text on a feature, or on the whole dictionary (None). Every version is kept."""

    def add(self, feature: int | None, text: str, by: By) -> Note:
        """Write a new note."""
        self.check(*[] if feature is None else [feature])
        noted = self.valid(_Noted, text=text)
        with self.database.write() as tx:
            return self._write(tx, feature, noted.text, NOTES.next_id(tx), by)

    def edit(self, note: int, text: str, by: By) -> Note:
        """Write a new version of a note.

        Args:
            note: `Note.note`.

        Raises:
            InputError: there is no such note, or it was removed.
        """
        noted = self.valid(_Noted, text=text)
        with self.database.write() as tx:
            feature = self._end(tx, note, by).feature
            return self._write(tx, feature, noted.text, note, by)

    def remove(self, note: int, by: By) -> None:
        """Raises InputError: there is no such note, or it was removed."""
        with self.database.write() as tx:
            self._end(tx, note, by)

    def of(self, feature: int | None) -> list[Note]:
        """Of one feature as they are now, newest first."""
        with self.database.read() as tx:
            return NOTES.select(tx, "t.feature IS ?", [feature])

    def history(self, feature: int | None) -> list[Note]:
        """Every version of every note of a feature, newest first."""
        with self.database.read() as tx:
            return NOTES.select(tx, "t.feature IS ?", [feature], history=True)

    def _write(self, tx: sqlite3.Connection, feature: int | None, text: str, note: int, by: By) -> Note:
        added = NOTES.insert(tx, source_of(tx, by), microseconds(), feature, text, note)
        learn(tx, words_of([text]))
        file_away(tx, NOTES.name, [added])
        return NOTES.select(tx, "t.id = ?", [added])[0]

    def _end(self, tx: sqlite3.Connection, note: int, by: By) -> Note:
        if not (found := NOTES.select(tx, "t.note = ?", [note])):
            raise InputError(f"there is no note {note}, or it was removed; write a new one")
        take_out(tx, NOTES.name, [found[0].id])
        NOTES.end(tx, [found[0].id], source_of(tx, by), microseconds())
        return found[0]
