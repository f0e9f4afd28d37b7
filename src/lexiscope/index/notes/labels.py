"""Labels: what people, models and heuristics say that a feature is about, how well that does, and which one to show."""

from __future__ import annotations

import gc
import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from lexiscope.core.errors import InputError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.index.notes.choice import Known, known_labels, mean_of, show, winners_of
from lexiscope.index.notes.room import Room
from lexiscope.index.notes.table import Table, as_list, microseconds, source_of
from lexiscope.index.notes.values import Added, By, Label, Measured, NewLabel, NewScore, Pin, Score
from lexiscope.index.notes.words import file_away, file_away_new, learn, take_out, tidy, words_of

LABELS = Table("labels", Label, "feature", "text", "score", "chosen")
SCORES = Table("scores", Score, "label", "name", "value", "low", "high", "n", "method")
PINS = Table("pins", Pin, "feature", "label")
_AT_ONCE = 10_000
_MANY = 50_000
"""After so many new labels the full-text index is merged."""


class Labels(Room):
    """Labels of features."""

    def add(self, feature: int, text: str, by: By, scores: Sequence[NewScore] = ()) -> Label:
        """Write a label down.

        Raises:
            InputError: there is no such feature, or the text can't be kept.
        """
        label = self.valid(NewLabel, feature=feature, text=text, by=by, scores=tuple(scores))
        with self.database.write() as tx:
            [number] = self._add(tx, [label], set())
            return self._get(tx, number)

    def add_many(self, labels: Iterable[NewLabel], progress: Progress = SILENT) -> Added:
        """Write many down, ten thousand in a transaction.

        Those that are there already (the same text on a feature, by the same, at the same time) are left as they are,
        also if they were removed.
        """
        added = given = 0
        words: set[str] = set()
        with progress.task("Labels", None, "labels") as task, _not_collecting():
            for chunk in _chunks(labels):
                with self.database.write() as tx:
                    added += len(self._add(tx, chunk, words))
                given += len(chunk)
                task.advance(len(chunk))
        if added >= _MANY:
            for first in itertools.chain([True], itertools.repeat(False)):
                with self.database.write() as tx:
                    if not tidy(tx, LABELS.name, first=first):
                        break
        return Added(added=added, known=given - added)

    def score(self, label: int, score: NewScore, by: By) -> Label:
        """Write down how well a label does. What there is of the same name stays in the history.

        Raises:
            InputError: there is no such label, or it was removed.
        """
        with self.database.write() as tx:
            feature = self._live(tx, label).feature
            take_out(tx, LABELS.name, [label])
            SCORES.insert(tx, source_of(tx, by), microseconds(score.created_at), label, *_columns(score))
            newest = {found.name: found.value for found in SCORES.select(tx, "t.label = ?", [label], order="t.id")}
            tx.execute("UPDATE labels SET score = ? WHERE id = ?", [mean_of(newest), label])
            file_away(tx, LABELS.name, [label])
            self.choose(tx, [feature])
            return self._get(tx, label)

    def pin(self, label: int, by: By) -> Label:
        """Make a label the one to show, whatever the scores."""
        with self.database.write() as tx:
            feature = self._live(tx, label).feature
            self._unpin(tx, feature, by)
            PINS.insert(tx, source_of(tx, by), microseconds(), feature, label)
            self.choose(tx, [feature])
            return self._get(tx, label)

    def unpin(self, feature: int, by: By) -> None:
        """Let the scores decide again."""
        with self.database.write() as tx:
            self._unpin(tx, feature, by)
            self.choose(tx, [feature])

    def remove(self, label: int, by: By) -> None:
        """It stays in the history.

        Raises:
            InputError: there is no such label, or it was removed.
        """
        with self.database.write() as tx:
            feature = self._live(tx, label).feature
            take_out(tx, LABELS.name, [label])
            tx.execute("UPDATE labels SET chosen = 0 WHERE id = ?", [label])
            LABELS.end(tx, [label], source_of(tx, by), microseconds())
            self.choose(tx, [feature])

    def of(self, feature: int, *, history: bool = False) -> list[Label]:
        """Of one feature: the one to show first, then the newest first; with ``history`` also what was removed."""
        with self.database.read() as tx:
            order = "t.chosen DESC, t.created_at DESC, t.id DESC"
            return self.filled(tx, LABELS.select(tx, "t.feature = ?", [feature], history=history, order=order))

    def chosen(self, features: Iterable[int]) -> dict[int, Label]:
        """The one to show of each feature that has any."""
        with self.database.read() as tx:
            where = "t.chosen = 1 AND t.feature IN (SELECT value FROM json_each(?))"
            return {label.feature: label for label in self.filled(tx, LABELS.select(tx, where, [as_list(features)]))}

    def get(self, label: int) -> Label:
        """One label, also if it was removed.

        Raises:
            InputError: there is none of this number.
        """
        with self.database.read() as tx:
            return self._get(tx, label)

    def count(self) -> int:
        with self.database.read() as tx:
            return LABELS.count(tx)

    def authors(self) -> list[str]:
        """Everybody who wrote something here, in order of name."""
        with self.database.read() as tx:
            return [str(name) for (name,) in tx.execute("SELECT name FROM authors ORDER BY name LIMIT 10000")]

    def filled(self, tx: sqlite3.Connection, labels: Sequence[Label]) -> list[Label]:
        """With their scores, oldest first, and whether they are pinned."""
        scores = defaultdict(list)
        for score in SCORES.select(
            tx, "t.label IN (SELECT value FROM json_each(?))", [as_list(label.id for label in labels)], order="t.id"
        ):
            scores[score.label].append(score)
        pins = self._pins(tx, {label.feature for label in labels})
        return [
            label.model_copy(update={"scores": tuple(scores[label.id]), "pinned": pins.get(label.feature) == label.id})
            for label in labels
        ]

    def _get(self, tx: sqlite3.Connection, label: int) -> Label:
        found = LABELS.select(tx, "t.id = ?", [label], history=True)
        if not found:
            raise InputError(f"there is no label {label}; search for the one you mean")
        return self.filled(tx, found)[0]

    def _live(self, tx: sqlite3.Connection, label: int) -> Label:
        found = self._get(tx, label)
        if found.ended_at is not None:
            raise InputError(f"label {label} was removed; write a new one")
        return found

    def _pins(self, tx: sqlite3.Connection, features: Iterable[int]) -> dict[int, int]:
        where = "t.feature IN (SELECT value FROM json_each(?))"
        return {pin.feature: pin.label for pin in PINS.select(tx, where, [as_list(features)], order="t.id")}

    def _unpin(self, tx: sqlite3.Connection, feature: int, by: By) -> None:
        pins = PINS.select(tx, "t.feature = ?", [feature])
        PINS.end(tx, [pin.id for pin in pins], source_of(tx, by), microseconds())

    def choose(self, tx: sqlite3.Connection, features: Sequence[int]) -> None:
        """Among what is there."""
        known = known_labels(tx, features)
        show(tx, known, set(winners_of(known, self._pins(tx, features)).values()))

    def _add(self, tx: sqlite3.Connection, labels: Sequence[NewLabel], words: set[str]) -> range:
        """The new ones of some labels.

        Args:
            words: pieces of text whose words are known to be in the vocabulary; more are added.
        """
        features = sorted({label.feature for label in labels})
        self.check(*features[:1], *features[-1:])
        known = known_labels(tx, features)
        there = {(label.feature, label.source, label.created_at, label.text) for label in known}
        sources: dict[By, int] = {}
        seen: dict[int, int] = {}

        def source(by: By) -> int:
            if id(by) not in seen:  # many labels share one, and hashing it takes longer than this
                if by not in sources:
                    sources[by] = source_of(tx, by)
                seen[id(by)] = sources[by]
            return seen[id(by)]

        now, first = microseconds(), LABELS.next_id(tx)
        number, score_number = first, SCORES.next_id(tx)
        new, rows, scores = [], [], []
        for label in labels:
            made_at = now if label.created_at is None else microseconds(label.created_at)
            by = seen.get(id(label.by)) or source(label.by)
            if (identity := (label.feature, by, made_at, label.text)) in there:
                continue
            there.add(identity)
            if len(given := label.scores) < 2:
                mean = given[0].value if given else None
            else:
                mean = mean_of({score.name: score.value for score in given})
            live, human = label.ended_at is None, label.by.kind == "human"
            ended_at = None if label.ended_at is None else microseconds(label.ended_at)
            ended_by = None if live else source(label.ended_by or label.by)
            rows.append((number, by, made_at, ended_at, ended_by, label.feature, label.text, mean))
            new.append(Known(number, label.feature, label.text, by, made_at, mean, live, human))
            for score in label.scores:
                scored_by = by if score.by is None else source(score.by)
                scored_at = made_at if score.created_at is None else microseconds(score.created_at)
                scores.append((score_number, scored_by, scored_at, None, None, number, *_columns(score)))
                score_number += 1
            number += 1
        winners = set(winners_of([*known, *new], self._pins(tx, features) if known else {}).values())
        show(tx, known, winners)
        tx.executemany(LABELS.insertion, [(*row, row[0] in winners) for row in rows])
        tx.executemany(SCORES.insertion, scores)
        fresh = set(" ".join([label.text for label in new]).split()) - words
        learn(tx, words_of(fresh))
        words |= fresh
        file_away_new(tx, LABELS.name, first)
        return range(first, number)


@contextmanager
def _not_collecting() -> Iterator[None]:
    """Labels hold no cycles, and to look for some among so many takes as long as to write them down."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _columns(score: Measured) -> tuple[object, ...]:
    return score.name, score.value, score.low, score.high, score.n, score.method


def _chunks(labels: Iterable[NewLabel]) -> Iterator[list[NewLabel]]:
    rest = iter(labels)
    while chunk := list(itertools.islice(rest, _AT_ONCE)):
        yield chunk
