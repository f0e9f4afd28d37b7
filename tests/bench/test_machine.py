"""The machine. Oracle: files written by the test in the form that Linux writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lexiscope.bench import machine


@pytest.mark.parametrize(("text", "size"), [("2048K\n", 2**21), ("4M", 2**22), ("512", 512)])
def test_the_caches_of_the_cores_in_use(text: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "size").write_text(text)
    monkeypatch.setattr(machine, "L2_SIZE", tmp_path / "size")
    assert machine.cache_bytes(3) == 3 * size
    monkeypatch.setattr(machine, "L2_SIZE", tmp_path / "nothing")
    assert machine.cache_bytes(1) == 2**21


def test_the_processor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Engine of 1837\nflags\t: steam\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine.this_machine(2, "cpu").processor == "Engine of 1837"


def test_what_others_used_is_what_was_busy_and_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 s on 4 cores; 24 s of them were busy, 8 of these our own: others used 16 of 40."""
    ticks = os.sysconf("SC_CLK_TCK")
    now, own, times = [100.0], [50.0], tmp_path / "stat"
    monkeypatch.setattr(machine, "CPU_TIMES", times)
    monkeypatch.setattr(machine.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(machine, "_own_seconds", lambda: own[0])
    monkeypatch.setattr(os, "cpu_count", lambda: 4)

    def write(user: float, system: float, stolen: float) -> None:
        numbers = [user, 0, system, 999, 7, 0, 0, stolen, 0, 0]
        times.write_text("cpu  " + " ".join(str(int(number * ticks)) for number in numbers) + "\ncpu0 1 2 3\n")

    write(100, 10, 1)
    with machine.Bystanders() as others:
        write(115, 17, 3)
        now[0], own[0] = 110.0, 58.0
    assert others.share == pytest.approx(16 / 40)
    monkeypatch.setattr(machine, "CPU_TIMES", tmp_path / "nothing")
    with machine.Bystanders() as others:
        pass
    assert others.share is None
