"""Labels, notes and tags that were acknowledged are there after kill -9. Oracle: what the process said on its output.

A process writes, and says of every write that it has returned; it is killed at a moment that nobody chose.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

from lexiscope.index.notes import Dictionary, Notes

SAE = Dictionary("f" * 64, 1000)
WRITER = """
import sys
from lexiscope.index.notes import By, Dictionary, NewLabel, NewScore, Notes

path, run = sys.argv[1:]
by = By(author=f"run {run}")
print("ready", flush=True)
with Notes(path, Dictionary("f" * 64, 1000)) as notes:
    for number in range(100_000):
        feature, text = number % 1000, f"run {run} number {number}"
        label = notes.labels.add(feature, text, by)
        print("label", label.id, feature, number, flush=True)
        if number % 3 == 0:
            notes.labels.score(label.id, NewScore(name="detection", value=0.5), by)
            print("score", label.id, feature, number, flush=True)
        if number % 5 == 0:
            notes.labels.remove(label.id, by)
            print("removed", label.id, feature, number, flush=True)
        if number % 7 == 0:
            note = notes.texts.edit(notes.texts.add(feature, "first " + text, by).note, text, by)
            print("note", note.id, feature, number, flush=True)
        if number % 50 == 49:
            many = notes.labels.add_many(NewLabel(feature=0, text=f"{text} of many {n}", by=by) for n in range(500))
            print("many", many.added, feature, number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path, amount, figure):
    path, rng = tmp_path / "index.notes.sqlite", random.Random(0)
    count, acknowledged = amount(10, 100), []
    for run in range(count):
        command = [sys.executable, "-c", WRITER, str(path), str(run)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 0.5))  # now and then, even the making of the file is cut short
            process.kill()
            said = process.stdout.read().split("\n")[:-1]  # what follows the last end of a line was not said
            assert process.wait() == -9
        acknowledged += [(run, *line.split()) for line in said]
        check(path, acknowledged)
    assert len(acknowledged) > 10 * count
    assert {what for _, what, *_ in acknowledged} == {"label", "score", "removed", "note", "many"}
    figure(
        "kill -9, notes: acknowledged writes that are there", f"{len(acknowledged):,} of {len(acknowledged):,}", "all"
    )
    figure("kill -9, notes: kills after which the file is whole", f"{count} of {count}", "all")


def check(path, acknowledged):
    """Everything that was said to be there is, and the file and its full-text indexes are whole."""
    if not path.exists():
        assert not acknowledged
        return
    with Notes(path, SAE) as notes:
        with notes.database.read() as tx:
            labels = {
                number: (text, ended) for number, text, ended in tx.execute("SELECT id, text, ended_at FROM labels")
            }
            scored = {number for (number,) in tx.execute("SELECT label FROM scores")}
            texts = dict(tx.execute("SELECT id, text FROM notes WHERE ended_at IS NULL"))
        for run, what, number, _, count in acknowledged:
            text = f"run {run} number {count}"
            if what == "label":
                assert labels[int(number)][0] == text
            elif what == "score":
                assert int(number) in scored
            elif what == "removed":
                assert labels[int(number)][1] is not None
            elif what == "note":
                assert texts[int(number)] == text
            else:
                assert int(number) == 500
                assert notes.search(f'"{text} of many"').matching == 500
        assert notes.search("run").matching == sum(ended is None for _, ended in labels.values())
    with closing(sqlite3.connect(path)) as tx:
        assert tx.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for table in ("labels", "notes", "tags"):
            tx.execute(f"INSERT INTO {table}_words ({table}_words, rank) VALUES ('integrity-check', 1)")
