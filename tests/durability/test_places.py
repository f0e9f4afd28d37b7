"""Where a run may be told to write: taken, held, forbidden, odd and impossible places.

Oracle: what is there afterwards, and that what is said is one sentence which names the place and the next move.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from tests.durability.faults import RENAMES, Op, contents, kill, read_trace

TASKS = ("train", "harvest", "scorecard", "index")
HOLD = """
import sys
from pathlib import Path
from lexiscope.core.lock import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(work):
    """Another process that holds a folder."""
    command = [sys.executable, "-c", HOLD, str(work)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def forbidden(folder):
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


def refused(ended, *words):
    assert ended.how == "refused", ended
    assert ended.kind in {"InputError", "ArtifactError"}, ended
    assert ended.message.isprintable()
    for word in (*words, "; "):
        assert word in ended.message, ended


def test_one_that_is_being_made_is_left_alone_even_while_its_process_sleeps(driver, whole, tmp_path):
    out = tmp_path / "out"
    with holder(tmp_path / ".out.work") as process:
        said = f"{out} is being made by another run (process {process.pid} on "
        refused(driver.run("train", out), said, "wait for it or choose another --out")
        process.send_signal(signal.SIGSTOP)
        refused(driver.run("train", out), said)
        process.kill()
        process.wait()
        assert (tmp_path / ".out.work" / "lock").exists()
        assert driver.run("train", out).how == "done"  # the dead lock nobody out
    assert contents(out) == whole("train")[0]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_lock_goes_last(driver, tmp_path):
    """Or another process could begin in a folder that is being removed."""
    driver.run("harvest", tmp_path / "runs" / "out", root=tmp_path, trace=tmp_path / "trace")
    steps = [(step.op, step.path) for step in read_trace(tmp_path / "trace") if step.op != Op.MARK]
    work = str(tmp_path / "runs" / ".out.work")
    assert steps[-2:] == [(Op.UNLINK, f"{work}/lock"), (Op.RMDIR, work)]


@pytest.mark.parametrize("task", ["scorecard", "train"])
def test_many_at_once_make_one(driver, whole, amount, figure, tmp_path, task):
    rounds, done = amount(2, 100), 0
    for number in range(rounds):
        out = tmp_path / str(number) / "out"
        out.parent.mkdir()
        found = driver.race(task, out, 4)
        for ended in found:
            if ended.how != "done":
                refused(ended, str(out))
        done += any(ended.how == "done" for ended in found)
        assert contents(out) == whole(task)[0]
        assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert done == rounds
    figure(f"four processes at once, {task}: one artifact, whole", f"{rounds} of {rounds}", "all")


def test_a_folder_that_may_not_be_written(driver, tmp_path):
    with forbidden(tmp_path):
        ended = driver.run("train", tmp_path / "out", powerless=True)
    refused(ended, f"can't write to {tmp_path}: Permission denied", "choose another --out")
    assert list(tmp_path.iterdir()) == []


def test_work_that_somebody_else_left(driver, whole, tmp_path):
    """It can't be written: not by this user."""
    out, work = tmp_path / "out", tmp_path / ".out.work"
    driver.run("train", out, kill(whole("train", RENAMES)[1], counted=RENAMES))
    (work / "lock").chmod(0o444)
    with forbidden(work):
        before = sorted(work.rglob("*"))
        refused(driver.run("train", out, powerless=True), f"can't write to {tmp_path}: Permission denied: {work}/lock")
        assert sorted(work.rglob("*")) == before
    (work / "lock").chmod(0o644)
    assert driver.run("train", out, powerless=True).how == "done"
    assert contents(out) == whole("train")[0]


NO_TEXT = os.fsdecode(b"\xff\xfe")
ODD = {
    "spaces": "a folder  with spaces ",
    "marks": "'quotes\" $HOME `id` ; [x]*? #&|<>",
    "backslash": "\\ \\\\",
    "newline": "two\nlines\r\x1b[31m",
    "unicode": "\u00fc\u4e2d\U0001f600\u202e",
    "dash": "--out",
    "dots": "...",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_odd_names(driver, whole, amount, tmp_path, name):
    """Killed and gone on with; and what is said of a folder with such a name is one line."""
    for task in amount(["harvest" if name == ODD["marks"] else "train"], TASKS):
        out = tmp_path / name / task / name
        out.parent.mkdir(parents=True)
        assert driver.run(task, out, kill(whole(task, RENAMES)[1], counted=RENAMES)).how == "SIGKILL"
        assert driver.run(task, out, every=None).how == "done"
        assert contents(out) == whole(task)[0]
        (out / "manifest.json").write_text("{}")
        ended = driver.run(task, out)
        assert ended.how == "refused"
        assert ended.message.isprintable()


def test_names_that_are_no_text_are_refused_at_once(driver, tmp_path):
    for out in (tmp_path / NO_TEXT, tmp_path / NO_TEXT / "out"):
        refused(driver.run("harvest", out), "\\udcff\\udcfe", "is not UTF-8", "choose another --out")
    assert list(tmp_path.iterdir()) == []


def test_what_duckdb_can_not_read_from_is_refused_at_once(driver, tmp_path):
    refused(driver.run("harvest", tmp_path / "a\\b*"), "a\\b* has a backslash beside *", "take another name")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_in_the_way(driver, tmp_path):
    (tmp_path / "file").write_text("mine")
    refused(driver.run("scorecard", tmp_path / "file"), "file exists already", "choose another --out")
    for under in ("file/out", "file/deep/out"):
        refused(driver.run("scorecard", tmp_path / under), f"{tmp_path}/file", "choose another --out")
    assert (tmp_path / "file").read_text() == "mine"


def test_links_are_not_replaced(driver, tmp_path):
    """A folder can't take the place of a link, and that should not come out after hours."""
    (tmp_path / "empty").mkdir()
    for name, target in {"dangling": "nowhere", "to a folder": "empty", "in a circle": "in a circle"}.items():
        (tmp_path / name).symlink_to(tmp_path / target)
        refused(driver.run("scorecard", tmp_path / name), f"{tmp_path / name} is a link", "remove it")
        assert (tmp_path / name).is_symlink()
    refused(driver.run("scorecard", tmp_path / "in a circle" / "out"), str(tmp_path / "in a circle"))
    assert driver.run("scorecard", tmp_path / "to a folder" / "out").how == "done"
    assert (tmp_path / "empty" / "out" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["x" * 256, "x" * 250, "\u00fc" * 128, "d/" * 2100 + "x"], ids=len)
def test_names_that_are_too_long(driver, tmp_path, name):
    refused(driver.run("scorecard", tmp_path / name), "File name too long", "another")
    assert list(tmp_path.iterdir()) == []


def test_the_root_is_no_place(driver, tmp_path):
    refused(driver.run("scorecard", tmp_path.joinpath("/"), root=tmp_path), "/ ")
