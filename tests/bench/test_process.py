"""Worker processes. Oracle: what loops written for the test leave behind, and memory of a known size."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lexiscope.bench.process import Contender, Worker, WorkerError, peak_bytes
from lexiscope.bench.race import WARM_UP_ROUNDS, race, timing

Loop = Callable[..., Contender]


def test_a_loop_takes_a_step_only_when_asked(loop: Loop, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Worker(loop("one", log=str(log))) as worker:
        assert worker.answer() == {"ready": True}
        assert not log.exists()
        for count in (1, 2, 3):
            taken = worker.step()
            assert taken["seconds"] > 0
            assert taken["cpu_seconds"] >= 0
            assert log.read_text() == "one " * count


def test_what_goes_wrong_is_said_in_one_line(loop: Loop) -> None:
    with Worker(loop("one", fail_at=1)) as worker:
        worker.answer()
        worker.step()
        with pytest.raises(WorkerError, match=r"^one: ValueError: it was told to fail\n"):
            worker.step()


def test_an_interpreter_that_ends_at_once_is_reported(loop: Loop, tmp_path: Path) -> None:
    contender = dataclasses.replace(loop("one"), python="/bin/false")
    with Worker(contender) as worker, pytest.raises(WorkerError, match="exit code 1"):
        worker.answer()


def test_another_interpreter_needs_torch_only(tmp_path: Path, loop: Loop) -> None:
    """A stand-in for the interpreter of a peer: without pydantic or an installed lexiscope."""
    (tmp_path / "pydantic").mkdir()
    (tmp_path / "pydantic" / "__init__.py").write_text("raise ImportError('not here')")
    foreign = tmp_path / "python"
    foreign.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    foreign.chmod(0o755)
    contender = dataclasses.replace(loop("one"), python=str(foreign))
    with Worker(contender) as worker:
        worker.answer()
        assert worker.step()["seconds"] > 0


def test_peak_memory_is_what_a_step_holds(loop: Loop) -> None:
    held, idle = peak_bytes(loop("one", megabytes=200)), peak_bytes(loop("one"))
    assert held / 2**20 == pytest.approx(200, abs=10)
    assert idle / 2**20 == pytest.approx(0, abs=10)


def test_every_round_asks_everybody_in_another_order(loop: Loop, tmp_path: Path) -> None:
    log = tmp_path / "log"
    contenders = [loop(name, log=str(log)) for name in ("a", "b", "c")]
    outcome = race(contenders, rounds=6)
    turns = log.read_text().split()
    rounds = [tuple(turns[start : start + 3]) for start in range(0, len(turns), 3)]
    assert len(rounds) == 6 + WARM_UP_ROUNDS
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len(set(rounds)) > 2
    assert {name: one.rounds for name, one in outcome.timings.items()} == {"a": 6, "b": 6, "c": 6}


def test_a_loop_that_fails_is_left_out_and_the_others_go_on(loop: Loop) -> None:
    outcome = race([loop("good"), loop("bad", fail_at=3)], rounds=3)
    assert list(outcome.timings) == ["good"]
    assert outcome.timings["good"].rounds == 3
    assert "told to fail" in outcome.failures["bad"]


def test_timings_are_medians_and_quartiles() -> None:
    """Oracle: numpy."""
    import numpy as np

    seconds = [0.5, 0.1, 0.2, 0.9, 0.3, 0.4]
    found = timing([{"seconds": one, "cpu_seconds": 2 * one} for one in seconds])
    assert found.median_ms == pytest.approx(1e3 * np.median(seconds))
    assert found.quartiles_ms == pytest.approx(tuple(1e3 * np.quantile(seconds, (0.25, 0.75))))
    assert (found.fastest_ms, found.slowest_ms) == pytest.approx((100, 900))
    assert found.cpu_ms == pytest.approx(2e3 * np.median(seconds))
    assert timing([{"seconds": 1.0, "cpu_seconds": 1.0}]).quartiles_ms == (1000, 1000)
