"""Parts of a step. Oracle: a clock that the test moves by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lexiscope.bench import parts
from lexiscope.bench.workload import Workload


def test_the_outermost_door_gets_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(parts, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def inner() -> None:
        now[0] += 1

    def outer() -> None:
        now[0] += 10
        inner()

    def fails() -> None:
        now[0] += 100
        raise ValueError

    def work() -> None:
        now[0] += 1000
        outer()
        inner()
        with pytest.raises(ValueError):
            fails()
        outer()

    doors = {inner.__code__: "inner", outer.__code__: "outer", fails.__code__: "fails"}
    assert parts.watch(work, doors) == {"outer": 22, "inner": 1, "fails": 100, "rest": 1000}


def test_every_door_is_there() -> None:
    assert len(parts.doors()) == len(parts.DOORS)


@pytest.mark.parametrize("path", ["stock", "dense"])
def test_a_step_goes_through_the_doors(path: str, tiny: Workload) -> None:
    found = parts.break_down(tiny, "topk", path, rounds=2)
    assert {"select", "decode", "optimizer", "rest"} <= set(found.parts_ms)
    assert any("value" in name for name in found.parts_ms)
    assert found.total_ms > 0
