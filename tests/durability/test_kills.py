"""Runs that are killed anywhere, stopped, put to sleep, or run out of memory. Oracle: the same stage undisturbed.

A run is killed at one of its calls to the disk: before it, after it, or when a write is half done.
"""

from __future__ import annotations

import itertools
import random
import signal
from collections import Counter

import pytest
from tests.durability.faults import KILLS, RENAMES, Action, Fault, contents, kill


@pytest.fixture
def resumed(driver, whole, tmp_path):
    """resumed(stage, fault, ...): let each fault strike one run after the other in one folder, then go on to the end.

    Returns how the runs ended. After each, what has its final name is whole; at the end the bytes are those of a run
    without a break, and nothing else is left.
    """
    numbers = itertools.count()

    def go_on(task, *faults, **settings):
        expected, _ = whole(task)
        out = tmp_path / str(next(numbers)) / "out"
        out.parent.mkdir()
        ended = []
        for fault in faults:
            ended.append(driver.run(task, out, fault, **settings))
            assert ended[-1].how not in {"traceback", "hung"}, ended
            assert {path.name for path in out.parent.iterdir()} <= {"out", ".out.work"}
            if out.exists():
                assert contents(out) == expected, ended
        after = driver.run(task, out, every=None)
        assert after.how == "done", (ended, after)
        assert not after.warnings, (ended, after)
        assert contents(out) == expected, ended
        assert [path.name for path in out.parent.iterdir()] == ["out"], ended
        return ended

    return go_on


@pytest.mark.parametrize(("task", "quick", "full"), [("train", 10, 200), ("harvest", 10, 200), ("index", 1, 60)])
def test_killed_anywhere(resumed, whole, amount, figure, task, quick, full):
    _, calls = whole(task)
    count = amount(quick, full)
    inside = 0
    for number, at in enumerate(random.Random(task).choices(range(1, calls + 1), k=count)):
        (ended,) = resumed(task, kill(at, KILLS[number % len(KILLS)]))
        assert ended.how == "SIGKILL"
        assert ended.fired.number == at
        inside += "/checkpoints/.partial" in ended.fired.path
    figure(f"kill -9, {task}: same bytes", f"{count} of {count}", "all")
    if task != "index":
        assert inside >= count // 10
        figure(f"kill -9, {task}: of these inside a checkpoint write", inside, f">= {count // 10}")


@pytest.mark.parametrize("task", ["train", "harvest"])
def test_killed_again_while_going_on(resumed, whole, amount, figure, task):
    _, calls = whole(task)
    count, chance = amount(3, 50), random.Random(f"{task} twice")
    twice = 0
    for number in range(count):
        places = chance.randrange(calls // 4, calls), chance.randrange(1, 60)
        ended = resumed(task, *(kill(at, KILLS[number % len(KILLS)]) for at in places))
        twice += ended[1].how == "SIGKILL"
    assert twice
    figure(f"kill -9 again while going on, {task}: same bytes", f"{count} of {count}", "all")


@pytest.mark.parametrize("task", ["train", "harvest", "index"])
def test_killed_twice_while_the_last_files_are_written(resumed, whole, amount, task):
    """Then files are there that are written again, such as a manifest; DuckDB writes beside one that is there."""
    _, renames = whole(task, RENAMES)
    last = kill(renames, counted=RENAMES)
    for at in random.Random(task).sample(range(1, 50), amount(1, 49)):
        first, _ = resumed(task, last, kill(at))
        assert first.fired.path.endswith(".out.work/draft")


@pytest.mark.parametrize("task", ["train", "harvest"])
def test_asked_to_stop_anywhere(resumed, whole, amount, figure, task):
    _, calls = whole(task)
    count = amount(2, 50)
    stopped = 0
    for at in random.Random(f"{task} asked").choices(range(1, calls // 2), k=count):
        (ended,) = resumed(task, Fault(Action.SIGNAL_AFTER, signal.SIGTERM, at), every=3)
        assert ended.how in {"stopped", "done", "SIGTERM"}
        if ended.how == "stopped":
            assert "the same command goes on from there" in ended.message
            stopped += 1
    assert stopped
    figure(f"SIGTERM, {task}: same bytes", f"{count} of {count}", "all")


@pytest.mark.parametrize("task", ["train", "harvest"])
def test_asleep_while_the_clock_was_set_back(resumed, whole, amount, figure, task):
    _, calls = whole(task)
    count = amount(1, 50)
    for number, at in enumerate(random.Random(f"{task} asleep").choices(range(1, calls + 1), k=count)):
        jump = 3600 * (-1, 24 * 365)[number % 2]
        sleep = Fault(Action.SIGNAL_AFTER, signal.SIGSTOP, at, clock_jump=jump)
        (ended,) = resumed(task, sleep)
        assert (ended.how, ended.stopped) == ("done", 1)
        # And killed later on, so that what goes on has another time than what was before.
        assert len(resumed(task, sleep._replace(at=calls // 2), kill(at))) == 2
    figure(f"SIGSTOP and a clock an hour back, {task}: same bytes", f"{count} of {count}", "all")


def test_out_of_memory(resumed, amount, figure):
    """With less memory than a run needs, more of it each time: an error that says so, and nothing lost."""
    count = amount(1, 50)
    how = Counter()
    for number in range(count):
        (ended,) = resumed("train wide", Fault(), memory=(2 + 4 * number) << 20)
        assert ended.how in {"out of memory", "done"}, ended
        how[ended.how] += 1
    assert how["out of memory"]
    figure("out of memory (RLIMIT_AS), train: same bytes", f"{count} of {count}", "all")
