"""The roof. Oracle: float64 products, and a way that is wrong on purpose."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lexiscope.bench import roof
from lexiscope.bench.workload import Workload


@pytest.mark.parametrize("way", roof.WAYS, ids=lambda way: f"{way.name} {way.precision}")
def test_every_way_is_the_same_product(way: roof.Way, tiny: Workload) -> None:
    try:
        error = roof.relative_error(tiny, way, 16)
    except (RuntimeError, AttributeError) as problem:
        pytest.skip(f"not on this machine: {problem}")
    assert error <= 2e-2  # bf16 at worst
    if way.precision == "int8":
        assert error == 0


def test_what_is_not_in_its_precision_does_not_count(tiny: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(x_TD: Tensor, W_FD: Tensor, rows: int) -> roof.Blocks:
        return lambda block: (x_TD[block].bfloat16() @ W_FD.bfloat16().t()).float()

    def absent(x_TD: Tensor, W_FD: Tensor, rows: int) -> roof.Blocks:
        raise RuntimeError("no such instruction\nat all")

    ways = [roof.WAYS[0], roof.Way("coarse", "fp32", coarse), roof.Way("absent", "fp32", absent)]
    monkeypatch.setattr(roof, "WAYS", ways)
    found = roof.measure(tiny, rounds=1, bandwidth_bytes=2**16)
    by_name = {gemm.way: gemm for gemm in found.gemms}
    assert by_name["coarse"].seconds is None
    assert "not fp32 on this machine" in by_name["coarse"].remark
    assert by_name["absent"].remark == "not there: no such instruction"
    best = found.best("fp32")
    assert best is not None
    assert best.way == "torch.mm"
    assert best.gflops == pytest.approx(2 * 64 * 32 * 128 / best.seconds / 1e9)
    assert found.best("int8") is None
    assert set(found.bandwidth) == {"copy", "sum"}


def test_a_batch_that_is_no_multiple_of_a_block_is_multiplied_whole(tiny: Workload) -> None:
    seen: list[int] = []

    def count(x_TD: Tensor, W_FD: Tensor, rows: int) -> roof.Blocks:
        return lambda block: seen.append(len(x_TD[block])) or x_TD

    roof.encoder_product(tiny, roof.Way("count", "fp32", count), 24)()
    assert seen == [24, 24, 16]


def test_the_floor_runs_as_a_loop(tiny: Workload) -> None:
    batches = [torch.zeros(1)] * 3
    roof.run("adam", tiny, iter(batches))
    roof.run("fp32", tiny, iter(batches), way="torch.mm", rows=16)
