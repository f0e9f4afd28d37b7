"""The file: whose it is, older and newer ones, those of strangers, damaged ones, and several at work at once.

Oracle: what is said is one sentence with the next move, and what was there before is still there.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, DamageError, InputError, LexiscopeError
from lexiscope.core.sqlite import notes_beside
from lexiscope.index.notes import BusyError, By, Dictionary, Notes, connection, database, schema

SAE = Dictionary("f" * 64, 1000)
ANA = By(author="ana")


def index_of(sae, out, *, seed=0):
    with write_artifact(out, "index", config={"num_latents": 10, "seed": seed}, made_from=[sae]) as draft:
        (draft.path / "features.parquet").write_text("rows")
    return out


def sae_at(out, content="weights"):
    with write_artifact(out, "sae", config={}) as draft:
        (draft.path / "sae.safetensors").write_text(content)
    return draft


@pytest.fixture
def run(tmp_path):
    from lexiscope.core.artifact import open_artifact

    run = tmp_path / "a run #1?%20"
    sae_at(run / "sae")
    index_of(open_artifact(run / "sae", "sae"), run / "index")
    return run


@pytest.fixture
def written(path):
    with Notes(path, SAE) as notes:
        for number in range(30):
            notes.labels.add(number % 5, f"label {number} of brackets", ANA)
        notes.texts.add(1, "a note " * 50, ANA)
    return path


def said(error):
    message = str(error.value)
    assert message.isprintable()
    assert "; " in message
    return message


def test_notes_lie_beside_an_index_and_outlive_it(run):
    from lexiscope.core.artifact import open_artifact

    with Notes.open(run / "index") as notes:
        assert notes.labels.of(3) == []
        assert not notes_beside(run / "index").exists()
        notes.labels.add(3, "brackets", ANA)
    shutil.rmtree(run / "index")
    index_of(open_artifact(run / "sae", "sae"), run / "index", seed=1)
    (run / "link").symlink_to("index")
    with Notes.open(run / "link") as notes:
        assert [label.text for label in notes.labels.of(3)] == ["brackets"]
        with pytest.raises(InputError, match="features 0 to 9"):
            notes.labels.add(10, "brackets", ANA)
    open_artifact(run / "index", "index").verify()


def test_notes_on_another_sae_are_refused(run):
    from lexiscope.core.artifact import open_artifact

    with Notes.open(run / "index") as notes:
        notes.labels.add(3, "brackets", ANA)
    theirs = open_artifact(run / "sae", "sae").fingerprint
    shutil.rmtree(run / "index")
    sae_at(run / "other", "other weights")
    other = open_artifact(run / "other", "sae")
    index_of(other, run / "index")
    for readonly in (False, True):
        with pytest.raises(InputError) as error:
            Notes.open(run / "index", readonly=readonly)
        assert theirs[:12] in said(error)
        assert other.fingerprint[:12] in str(error.value)


def test_reading_only(written):
    with Notes(written, SAE, readonly=True) as notes:
        assert notes.labels.count() == 30
        with pytest.raises(InputError, match="for reading only; open it for writing"):
            notes.labels.add(1, "x", ANA)
        with Notes(written, SAE) as writer:
            writer.labels.add(1, "new", ANA)
            assert notes.labels.count() == 31
        with Notes(written, SAE) as writer:
            writer.labels.add(1, "newer", ANA)
        assert notes.labels.count() == 32


def test_who_reads_only_leaves_no_trace_and_is_told_of_a_change(written):
    with Notes(written, SAE, readonly=True) as notes:
        assert notes.search("label").matching == 30
        assert [found.name for found in written.parent.iterdir()] == [written.name]
        with (
            pytest.raises(BusyError, match="changed while it was read; try again"),
            notes.database.read(),
            Notes(written, SAE) as writer,
        ):
            writer.labels.add(1, "new", ANA)
        assert notes.labels.count() == 31


def test_reading_only_where_nothing_is_yet(path):
    with Notes(path, SAE, readonly=True) as notes:
        assert notes.labels.count() == notes.search("x").matching == 0
        assert notes.lists.all() == []
        assert list(path.parent.iterdir()) == []
        with Notes(path, SAE) as writer:
            writer.labels.add(1, "brackets", ANA)
        assert notes.search("bracket").matching == 1


def test_reading_only_in_a_folder_where_nothing_may_be_written(written):
    """As another user, as root may write anywhere."""
    folder = written.parent
    command = """
import sys
from lexiscope.core.errors import InputError
from lexiscope.index.notes import Dictionary, Notes
with Notes(sys.argv[1], Dictionary("f" * 64, 1000), readonly=True) as notes:
    print(notes.labels.count(), notes.search("bracket*").matching)
try:
    Notes(sys.argv[1], Dictionary("f" * 64, 1000))
except InputError as error:
    print(error)
"""
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            drop = shutil.which("setpriv")
            if drop is None:
                pytest.skip("root may write anywhere, and setpriv isn't there")
            asked = [drop, "--bounding-set=-dac_override", "--inh-caps=-dac_override", "--reuid=0", sys.executable]
        else:
            asked = [sys.executable]
        done = subprocess.run([*asked, "-c", command, str(written)], capture_output=True, text=True, check=False)
    finally:
        folder.chmod(0o755)
    first, *rest = done.stdout.splitlines() or [done.stderr]
    assert first == "30 30", done.stderr
    assert rest[0].endswith("allow writing in its folder, or only read it"), rest
    assert {found.name for found in folder.iterdir()} == {written.name}


def test_a_newer_file_is_refused_and_an_older_one_brought_up_to_date(written, monkeypatch):
    newer = (
        *schema.MIGRATIONS,
        ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "ALTER TABLE tags ADD COLUMN colour TEXT"),
    )
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    with pytest.raises(ArtifactError, match="open it once for writing"):
        Notes(written, SAE, readonly=True)
    with Notes(written, SAE) as notes:
        assert notes.labels.count() == 30
        notes.tags.add(1, "x", ANA)
    with Notes(written, SAE, readonly=True) as notes:
        assert notes.labels.count() == 30
    monkeypatch.undo()
    for readonly in (False, True):
        with pytest.raises(ArtifactError, match="has format 2 of notes, this version of Lexiscope reads 1; install"):
            Notes(written, SAE, readonly=readonly)


def test_a_migration_that_fails_changes_nothing(written, monkeypatch):
    before = written.read_bytes()
    broken = (*schema.MIGRATIONS, ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "CREATE TABLE more (id INTEGER)"))
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    monkeypatch.setattr(database, "check_shape", lambda *_: None)
    with pytest.raises(LexiscopeError):
        Notes(written, SAE)
    monkeypatch.undo()
    assert written.read_bytes() == before


HOSTILE = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON labels BEGIN DELETE FROM labels; END",
    "a view": "DROP VIEW notes_live; "
    "CREATE VIEW notes_live AS SELECT 1 AS id, load_extension('x') AS text, '' AS facets",
    "a table more": "CREATE TABLE more (x)",
    "a table less": "DROP TABLE pins",
    "an index on an expression": "CREATE INDEX i ON labels (length(text))",
    "another tokenizer": "DROP TABLE tags_words; "
    "CREATE VIRTUAL TABLE tags_words USING fts5(text, facets, content='tags_live', content_rowid='id')",
    "a check": "DROP TABLE pins; CREATE TABLE pins (id INTEGER PRIMARY KEY, feature CHECK (feature < 5))",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_a_stranger_declared_is_refused(written, what):
    with closing(sqlite3.connect(written)) as tx:
        tx.executescript(HOSTILE[what])
    for readonly in (False, True):
        with pytest.raises(ArtifactError, match="is no file of notes that Lexiscope made") as error:
            Notes(written, SAE, readonly=readonly)
        said(error)


VALUES = {
    "text for a number": "UPDATE labels SET feature = 'x' WHERE id = 30",
    "a time beyond the calendar": "UPDATE labels SET created_at = 9000000000000000000 WHERE id = 30",
    "text for a time": "UPDATE labels SET created_at = 'now'",
    "bytes for text": "UPDATE labels SET text = x'ff00'",
    "text that is no UTF-8": "UPDATE labels SET text = CAST(x'ff' AS TEXT)",
    "a kind that there is not": "UPDATE sources SET kind = 'robot'",
    "no author": "DELETE FROM authors",
}


@pytest.mark.parametrize("what", VALUES)
def test_rows_of_another_type_are_damage(written, what):
    with closing(sqlite3.connect(written)) as tx:
        tx.executescript(VALUES[what])
    with Notes(written, SAE) as notes, pytest.raises(DamageError, match="is damaged") as error:
        for feature in range(5):
            notes.labels.of(feature)
        notes.search("")
    said(error)


MORE = {
    "text for a score": "UPDATE labels SET score = 'best'",
    "bytes for a score": "UPDATE labels SET score = x'00', chosen = 'yes'",
    "words that are none": "UPDATE vocabulary SET stem = x'ff'; INSERT INTO vocabulary VALUES (x'ff', 5)",
    "a tag on no feature": "INSERT INTO tags VALUES (1, 'x', 'tag', 1, 1, NULL, NULL)",
    "sources of nobody": "UPDATE sources SET author = 'x'",
    "a source that is none": "UPDATE labels SET source = 99",
    "a pin of nothing": "INSERT INTO pins VALUES ('x', 'x', 'x', 1, 'x', NULL, NULL)",
    "facets that lie": "UPDATE labels SET chosen = 1 - chosen, text = 'other'",
    "an index without its rows": "DELETE FROM labels",
    "an index without its words": "DELETE FROM labels_words_data",
    "sizes that are none": "UPDATE labels_words_docsize SET sz = x'ffffffffffffffffff'",
    "another configuration": "UPDATE labels_words_config SET v = 99",
}


@pytest.mark.parametrize("what", [*VALUES, *MORE])
def test_whatever_rows_say_ends_in_a_sentence(written, what):
    with closing(sqlite3.connect(written)) as tx:
        with suppress(sqlite3.Error):
            tx.executescript({**VALUES, **MORE}[what])
        tx.commit()
    with suppress(LexiscopeError), Notes(written, SAE) as notes:
        for act in (
            *(functools.partial(notes.labels.add, feature, "new", ANA) for feature in range(5)),
            lambda: notes.labels.pin(2, ANA),
            lambda: notes.labels.remove(3, ANA),
            lambda: notes.labels.chosen(range(5)),
            lambda: notes.search("brack*"),
            lambda: notes.search("label", author="ana", chosen=True),
            lambda: notes.search("", limit=500),
            lambda: notes.tags.features("tag"),
            notes.tags.counts,
            lambda: notes.tags.of_many(range(5)),
            lambda: list(notes.exchange.json_lines()),
            lambda: list(notes.exchange.csv_lines("label")),
            notes.labels.authors,
        ):
            with suppress(LexiscopeError):
                act()


def test_json_of_a_stranger(written):
    with Notes(written, SAE) as notes:
        notes.results.put(1, "ablation", "c", {}, ANA)
    for payload in ("[" * 100_000, "{", "NaN?"):
        with closing(sqlite3.connect(written)) as tx, tx:
            tx.execute("UPDATE results SET payload = ?", [payload])
        with Notes(written, SAE) as notes, pytest.raises(DamageError, match="is damaged"):
            notes.results.of(1)


def test_a_question_that_takes_too_long_is_given_up(written, monkeypatch):
    monkeypatch.setattr(connection, "LONGEST_SECONDS", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with (
        Notes(written, SAE) as notes,
        pytest.raises(BusyError, match="did not answer"),
        notes.database.read(seconds=0.2) as tx,
    ):
        tx.execute(endless)


@pytest.mark.parametrize("name", ["empty", "text", "sqlite", "folder", "fifo", "link", "journal", "wal"])
def test_something_else_in_its_place(path, written, name):
    other = path.with_name("other.sqlite")
    with closing(sqlite3.connect(other)) as tx:
        tx.execute("CREATE TABLE t (x)")
    {
        "empty": lambda: written.write_bytes(b""),
        "text": lambda: written.write_text("no notes" * 100),
        "sqlite": lambda: shutil.copy(other, written),
        "folder": lambda: (written.unlink(), written.mkdir()),
        "fifo": lambda: (written.unlink(), os.mkfifo(written)),
        "link": lambda: (written.rename(other), written.symlink_to(other)),
        "journal": lambda: written.with_name(written.name + "-journal").write_text("x"),
        "wal": lambda: written.with_name(written.name + "-wal").symlink_to(other),
    }[name]()
    for readonly in (False, True):
        with pytest.raises(InputError, match="move it away") as error:
            Notes(written, SAE, readonly=readonly)
        said(error)


def use(notes):
    for feature in range(5):
        notes.labels.of(feature, history=True)
    notes.search("bracket*")
    notes.search("", chosen=True)
    notes.search("note", "notes")
    notes.texts.of(1)
    if not notes.readonly:
        label = notes.labels.add(1, "new brackets", ANA)
        notes.labels.remove(label.id, ANA)


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_file_ends_in_a_sentence(written, seed):
    rng = random.Random(seed)
    content = bytearray(written.read_bytes())
    if seed % 3 == 0:
        del content[rng.randrange(len(content)) :]
    for _ in range((1, 20, 500)[seed % 3] if seed % 3 else 0):
        content[rng.randrange(100, len(content))] = rng.randrange(256)
    written.write_bytes(content)
    began = time.monotonic()
    try:
        with Notes(written, SAE, readonly=bool(seed % 2)) as notes:
            use(notes)
    except LexiscopeError as error:
        assert str(error).isprintable()
        assert "; " in str(error)
    assert time.monotonic() - began < 30


def test_one_who_writes_for_too_long(written, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with Notes(written, SAE) as notes, Notes(written, SAE) as other:
        with other.database.write():
            with pytest.raises(BusyError, match="written to by another process for 0 s; try again"):
                notes.labels.add(1, "x", ANA)
            assert notes.labels.count() == 30
        notes.labels.add(1, "x", ANA)
        assert other.labels.count() == 31


def test_many_threads(path):
    failures, stop = [], threading.Event()
    with Notes(path, SAE) as notes:

        def read():
            try:
                while not stop.is_set():
                    found = notes.search("label", limit=500)
                    assert found.matching == len(found.hits)
                    assert len(notes.labels.of(1)) <= 40
            except Exception as error:  # noqa: BLE001
                failures.append(error)

        def write(name):
            try:
                for number in range(20):
                    notes.labels.add(number % 3, f"label {name} {number}", By(author=name))
            except Exception as error:  # noqa: BLE001
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(6)]
        writers = [threading.Thread(target=write, args=[f"w{number}"]) for number in range(4)]
        for thread in (*readers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        for thread in readers:
            thread.join()
        assert not failures
        assert notes.labels.count() == notes.search("label").matching == 80


def test_many_processes_from_nothing(path):
    command = (
        "import sys; from lexiscope.index.notes import Notes, Dictionary, By\n"
        "with Notes(sys.argv[1], Dictionary('f' * 64, 1000)) as notes:\n"
        "    for number in range(15): notes.labels.add(number, f'label {number}', By(author=sys.argv[2]))\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", command, str(path), f"p{number}"]) for number in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    with Notes(path, SAE) as notes:
        assert notes.labels.count() == 45
        assert notes.labels.authors() == ["p0", "p1", "p2"]
        assert len(notes.labels.chosen(range(15))) == 15
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_descriptors_are_given_back(written):
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(5):
        with Notes(written, SAE) as notes:
            use(notes)
    assert count() == before


def test_a_file_that_is_replaced_is_read_anew(written, tmp_path):
    with Notes(written, SAE) as notes, Notes(tmp_path / "other", SAE) as other:
        other.labels.add(1, "other", ANA)
        other.close()
        assert notes.labels.count() == 30
        notes.database._idle[0].execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (tmp_path / "other").replace(written)
        for suffix in ("-wal", "-shm"):
            written.with_name(written.name + suffix).unlink(missing_ok=True)
        assert notes.labels.count() == 1


def test_what_is_closed_says_so(written):
    notes = Notes(written, SAE)
    notes.close()
    notes.close()
    for act in (notes.labels.count, lambda: notes.labels.add(1, "x", ANA)):
        with pytest.raises(InputError, match="was closed; open it again"):
            act()


def test_the_full_text_index_is_what_the_rows_say(written):
    with Notes(written, SAE) as notes:
        notes.labels.remove(3, ANA)
        notes.labels.pin(7, ANA)
        note = notes.texts.of(1)[0]
        notes.texts.edit(note.note, "another", ANA)
    with closing(sqlite3.connect(written)) as tx:
        for table in ("labels", "notes", "tags"):
            tx.execute(f"INSERT INTO {table}_words ({table}_words, rank) VALUES ('integrity-check', 1)")
        assert tx.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
