"""Scaling. Oracle: costs made from a known power."""

from __future__ import annotations

import dataclasses

import pytest

from lexiscope.bench import scaling
from lexiscope.bench.workload import Workload


@pytest.mark.parametrize("axis", scaling.FIELD)
def test_the_range_is_64_fold_along_one_axis(axis: str) -> None:
    sizes = scaling.workloads(axis)
    field = scaling.FIELD[axis]
    assert getattr(sizes[-1], field) == 64 * getattr(sizes[0], field)
    assert len({dataclasses.replace(one, **{field: 1}) for one in sizes}) == 1


@pytest.mark.parametrize("power", [0.5, 1.0, 1.3])
def test_the_slope_of_a_power_is_the_power(power: float) -> None:
    assert scaling.slope([(size, 3 * size**power) for size in (1, 2, 4, 8)]) == pytest.approx(power)


def test_only_sizes_past_the_caches_count() -> None:
    """Below the caches cost is constant, above it grows with power 1.1: only the latter is to be found."""
    sizes = scaling.workloads("latents")
    cache = 4 * sizes[2].width * sizes[2].num_latents
    ms = [10.0 if number <= 2 else 10 * (one.num_latents / 8192) ** 1.1 for number, one in enumerate(sizes)]
    found = scaling.curve("latents", "stock", sizes, ms, cache)
    assert found.past_cache == [False] * 3 + [True] * 4
    assert found.exponent == pytest.approx(1.1)
    assert found.exponent_over_all < 1
    assert found.cost == pytest.approx([1e3 * one / 2048 for one in ms])
    assert scaling.curve("latents", "stock", sizes[:4], ms[:4], cache).exponent is None


def test_cost_over_tokens_is_that_of_the_step() -> None:
    sizes = scaling.workloads("tokens")
    found = scaling.curve("tokens", "stock", sizes, [float(one.tokens) for one in sizes], cache=0)
    assert found.exponent == pytest.approx(1)
    assert found.cost == found.ms_per_step


def test_a_measurement_takes_the_sizes_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scaling.SMALLEST, "latents", Workload("s", width=16, num_latents=32, k=2, tokens=16))
    found = scaling.measure("latents", "stock", 1, rounds=1, doublings=2)
    assert found.sizes == [32, 64, 128]
    assert all(ms > 0 for ms in found.ms_per_step)
    assert found.tokens == [16] * 3
