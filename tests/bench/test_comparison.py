"""The table of a workload. Oracle: timings written by the test, ratios and floors computed by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

import pytest

from lexiscope.bench import comparison, tuning
from lexiscope.bench.peers import PEERS
from lexiscope.bench.process import Contender
from lexiscope.bench.race import Race, Timing
from lexiscope.bench.roof import Gemm, Roof
from lexiscope.bench.workload import WORKLOADS, Workload

ROOF = Roof(2, [Gemm("torch.mm", "fp32", 512, 0.1, 300, 1e-7), Gemm("oneDNN", "bf16", 512, 0.01, 3000, 1e-3)])
MS = {"lexiscope dense": 800, "lexiscope stock": 200, "saelens": 1000, "floor fp32": 100, "floor adam": 25}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Contender]:
    """The contenders that were raced; each took what `MS` says, sparsify failed."""
    seen: list[Contender] = []

    def race(contenders: Sequence[Contender], *_: object) -> Race:
        seen.extend(contenders)
        timings = {one.name: Timing(MS[one.name], 0, 0, (0, 0), 0, 1) for one in contenders if one.name in MS}
        return Race(timings, {one.name: "it broke" for one in contenders if one.name not in MS})

    monkeypatch.setattr(comparison, "race", race)
    monkeypatch.setattr(comparison, "peak_bytes", lambda contender: len(contender.name))
    return seen


def entries(workload: Workload) -> list[comparison.Entry]:
    ours = comparison.our_entries(workload, "topk", {"dense": "fp32", "stock": "fp32"}, 2)
    return ours + comparison.peer_entries(workload, "topk", ["saelens", "sparsify"], "python", 2)


def test_ratios_and_floors(asked: list[Contender], tiny: Workload) -> None:
    found = comparison.compare(tiny, "topk", entries(tiny), ROOF, rounds=3, threads=2)
    stock, saelens = found.rows[1], found.rows[2]
    assert [row.name for row in found.rows] == ["lexiscope dense", "lexiscope stock", "saelens"]
    assert found.ratio(stock) == 5
    assert (stock.product_ms, stock.floor_ms) == (100, 125)
    assert stock.over_floor == pytest.approx(1.6)
    assert stock.rest_over_product == pytest.approx(1.0)
    assert saelens.floor_ms is None
    assert saelens.peak_bytes == 7
    assert found.failures == {"sparsify": "it broke"}
    assert {one.name for one in asked if one.name.startswith("floor")} == {"floor fp32", "floor adam"}


def test_without_saelens_ratios_are_against_the_dense_step(asked: list[Contender], tiny: Workload) -> None:
    ours = comparison.our_entries(tiny, "topk", {"dense": "fp32", "stock": "fp32"}, 2)
    ours[0] = dataclasses.replace(ours[0], memory=False)
    found = comparison.compare(tiny, "topk", ours, ROOF, rounds=3, threads=2)
    assert [found.ratio(row) for row in found.rows] == [1, 4]
    assert [row.peak_bytes for row in found.rows] == [None, len("lexiscope stock")]


def test_a_peer_is_only_asked_for_what_it_has() -> None:
    gated = comparison.peer_entries(WORKLOADS["A"], "gated", list(PEERS), "python", 2)
    assert [entry.contender.name for entry in gated] == ["saelens", "dictionary_learning"]


def test_tuning_gives_everybody_the_allocator_and_peers_the_product(asked: list[Contender], tiny: Workload) -> None:
    granted = tuning.Tuning({"MALLOC_TOP_PAD_": "1", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, medium=True)
    found = comparison.compare(tiny, "topk", entries(tiny), ROOF, rounds=1, threads=2, tuning=granted)
    by_name = {one.name: one for one in asked}
    assert by_name["saelens"].medium
    assert by_name["saelens"].environment == granted.environment
    assert not by_name["lexiscope stock"].medium
    assert by_name["lexiscope stock"].environment == tuning.MALLOC_KEEPS
    assert found.tuned


@pytest.mark.parametrize(
    ("errors", "speeds", "granted"),
    [
        ([1e-7], [0.5], {}),  # fp32 as it is, and twice as fast
        ([2e-3, 1e-7], [0.1, 0.5], {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),  # bf16 until it is kept from matrix units
        ([2e-3, 1e-7], [0.1, 1.01], None),  # fp32 then, but no faster
        ([2e-3, 2e-3], [0.1, 0.1], None),  # never fp32
    ],
)
def test_the_fast_product_is_granted_only_where_it_is_fp32(
    errors: list[float],
    speeds: list[float],
    granted: dict[str, str] | None,
    tiny: Workload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter(zip(errors, speeds, strict=True))

    class Probe:
        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def answer(self) -> dict[str, float]:
            error, speed = next(answers)
            return {"relative_error": error, "seconds": 1.0, "medium_seconds": speed}

    monkeypatch.setattr(tuning, "Worker", Probe)
    found = tuning.tune(tiny, 2, "python")
    assert found.medium is (granted is not None)
    assert found.environment == {**tuning.MALLOC_KEEPS, **(granted or {})}
    if errors[0] > 1e-5:
        assert any("not fp32: not granted" in remark for remark in found.remarks)
