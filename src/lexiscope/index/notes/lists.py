"""Lists of features, with a few words on each feature, and results of experiments on features."""

from __future__ import annotations

import sqlite3
from typing import Any

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from lexiscope.core.config import describe
from lexiscope.core.disk import json_text
from lexiscope.core.errors import InputError
from lexiscope.index.notes.connection import MOST_BYTES
from lexiscope.index.notes.room import Room
from lexiscope.index.notes.table import Table, microseconds, source_of
from lexiscope.index.notes.values import By, Description, FeatureList, ListItem, Name, Result, Value

LISTS = Table("lists", FeatureList, "name", "description", "list")
ITEMS = Table("items", ListItem, "list", "feature", "description")
RESULTS = Table("results", Result, "feature", "kind", "conditions", "payload")
_JSON: TypeAdapter[Any] = TypeAdapter(JsonValue)
_MOST_OF_A_RESULT = MOST_BYTES // 2


class _Named(Value):
    name: Name
    description: Description = ""


class _Described(Value):
    description: Description = ""


class _Conditions(Value):
    kind: Name
    conditions: Name


class Lists(Room):
    """Named lists of features."""

    def make(self, name: str, by: By, description: str = "") -> FeatureList:
        """A new, empty list. Two may have the same name."""
        named = self.valid(_Named, name=name, description=description)
        with self.database.write() as tx:
            return self._write(tx, named, LISTS.next_id(tx), by)

    def rename(self, list_: int, name: str, by: By, description: str = "") -> FeatureList:
        """Give a list another name and description.

        Args:
            list_: `FeatureList.list`.

        Raises:
            InputError: there is no such list, or it was removed.
        """
        named = self.valid(_Named, name=name, description=description)
        with self.database.write() as tx:
            self._end(tx, list_, by)
            return self._write(tx, named, list_, by)

    def remove(self, list_: int, by: By) -> None:
        """Raises InputError: there is no such list, or it was removed."""
        with self.database.write() as tx:
            self._end(tx, list_, by)

    def all(self) -> list[FeatureList]:
        """In order of name."""
        with self.database.read() as tx:
            return LISTS.select(tx, order="t.name, t.id", limit=10_000)

    def get(self, list_: int) -> FeatureList:
        """Raises InputError: there is no such list, or it was removed."""
        with self.database.read() as tx:
            return self._get(tx, list_)

    def put(self, list_: int, feature: int, by: By, description: str = "") -> ListItem:
        """Put a feature into a list, or say something else of one that is there."""
        self.check(feature)
        described = self.valid(_Described, description=description)
        with self.database.write() as tx:
            self._get(tx, list_)
            source, now = source_of(tx, by), microseconds()
            self._end_item(tx, list_, feature, source, now)
            added = ITEMS.insert(tx, source, now, list_, feature, described.description)
            return ITEMS.select(tx, "t.id = ?", [added])[0]

    def drop(self, list_: int, feature: int, by: By) -> None:
        """Take a feature out of a list; if it isn't there, that's no error."""
        with self.database.write() as tx:
            self._get(tx, list_)
            self._end_item(tx, list_, feature, source_of(tx, by), microseconds())

    def items(self, list_: int, *, limit: int = 1000, offset: int = 0) -> list[ListItem]:
        """What is in a list, in the order in which it was put there."""
        with self.database.read() as tx:
            self._get(tx, list_)
            return ITEMS.select(tx, "t.list = ?", [list_], order="t.id", limit=limit, offset=offset)

    def count(self, list_: int) -> int:
        """How many features a list has."""
        with self.database.read() as tx:
            self._get(tx, list_)
            return ITEMS.count(tx, "t.list = ?", [list_])

    def of(self, feature: int) -> list[ListItem]:
        """Where a feature is listed."""
        with self.database.read() as tx:
            there = "t.feature = ? AND EXISTS (SELECT 1 FROM lists AS l WHERE l.list = t.list AND l.ended_at IS NULL)"
            return ITEMS.select(tx, there, [feature], order="t.id")

    def _get(self, tx: sqlite3.Connection, list_: int) -> FeatureList:
        if not (found := LISTS.select(tx, "t.list = ?", [list_])):
            raise InputError(f"there is no list {list_}, or it was removed; make a new one")
        return found[0]

    def _write(self, tx: sqlite3.Connection, named: _Named, list_: int, by: By) -> FeatureList:
        LISTS.insert(tx, source_of(tx, by), microseconds(), named.name, named.description, list_)
        return self._get(tx, list_)

    def _end(self, tx: sqlite3.Connection, list_: int, by: By) -> None:
        LISTS.end(tx, [self._get(tx, list_).id], source_of(tx, by), microseconds())

    def _end_item(self, tx: sqlite3.Connection, list_: int, feature: int, source: int, now: int) -> None:
        there = ITEMS.select(tx, "t.list = ? AND t.feature = ?", [list_, feature])
        ITEMS.end(tx, [item.id for item in there], source, now)


class Results(Room):
    """What experiments on features found, so that a page can show it without computing it again."""

    def put(self, feature: int, kind: str, conditions: str, payload: BaseModel | JsonValue, by: By) -> Result:
        """Write a result down; an earlier one under the same conditions is replaced.

        Args:
            kind: such as "ablation".
            conditions: hash of everything that the result depends on.
            payload: a value of pydantic, or JSON.
        """
        self.check(feature)
        asked = self.valid(_Conditions, kind=kind, conditions=conditions)
        try:
            plain = (
                payload.model_dump(mode="json") if isinstance(payload, BaseModel) else _JSON.validate_python(payload)
            )
            text = json_text(plain)
            size = len(text.encode())
        except ValidationError as error:
            raise InputError(f"a result of {kind} is no JSON ({describe(error)}); change it and try again") from None
        except ValueError as error:
            raise InputError(f"a result of {kind} can't be kept ({error}); change it and try again") from None
        if size > _MOST_OF_A_RESULT:
            raise InputError(f"a result of {kind} has {size:,} bytes; keep less than {_MOST_OF_A_RESULT:,} of it")
        with self.database.write() as tx:
            source, now = source_of(tx, by), microseconds()
            where, values = "t.feature = ? AND t.kind = ? AND t.conditions = ?", [feature, asked.kind, asked.conditions]
            RESULTS.end(tx, [result.id for result in RESULTS.select(tx, where, values)], source, now)
            added = RESULTS.insert(tx, source, now, feature, asked.kind, asked.conditions, text)
            return RESULTS.select(tx, "t.id = ?", [added])[0]

    def get(self, feature: int, kind: str, conditions: str) -> Result | None:
        """What was found under these conditions."""
        with self.database.read() as tx:
            where = "t.feature = ? AND t.kind = ? AND t.conditions = ?"
            found = RESULTS.select(tx, where, [feature, kind, conditions], limit=1)
            return found[0] if found else None

    def of(self, feature: int, *, history: bool = False, limit: int = 100) -> list[Result]:
        """Of one feature, newest first."""
        with self.database.read() as tx:
            return RESULTS.select(tx, "t.feature = ?", [feature], history=history, limit=limit)
