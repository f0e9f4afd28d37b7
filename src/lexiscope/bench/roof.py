"""The roofs of this machine: how fast it multiplies matrices in each precision, and how fast it moves memory.

Several ways to the same product are tried, because which one is fast differs between processors; each is checked
against a float64 product first, so that what is called fp32 is fp32. T tokens, D model width, F latents.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lexiscope.bench.clock import quickest
from lexiscope.bench.workload import Workload

PRECISIONS = ["fp32", "bf16", "int8"]
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2, "int8": 0.0}
"""Largest relative error with which a product still counts as one in this precision."""
ROWS = 512
"""Tokens that are multiplied at a time, so that what comes out can be used while it is in cache."""

Blocks = Callable[[slice], Tensor]
"""Gives the scores of a block of tokens."""
Prepare = Callable[[Tensor, Tensor, int], Blocks]
"""From x_TD, W_FD and the number of tokens in a block."""


@dataclass(frozen=True)
class Way:
    """One way to compute scores x Wᵀ."""

    name: str
    precision: str
    prepare: Prepare


def _float_mm(x_TD: Tensor, W_FD: Tensor, rows: int) -> Blocks:
    out = x_TD.new_empty(rows, len(W_FD))
    return lambda block: torch.mm(x_TD[block], W_FD.t(), out=out[: len(x_TD[block])])


def _allowing(precision: str) -> Prepare:
    """The product with ``torch.set_float32_matmul_precision``, which on some processors gives up float32."""

    def prepare(x_TD: Tensor, W_FD: Tensor, rows: int) -> Blocks:
        multiply = _float_mm(x_TD, W_FD, rows)

        def blocks(block: slice) -> Tensor:
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision(precision)
            try:
                return multiply(block)
            finally:
                torch.set_float32_matmul_precision(before)

        return blocks

    return prepare


def _onednn(x_TD: Tensor, W_FD: Tensor, rows: int) -> Blocks:
    packed = torch.ops.mkldnn._reorder_linear_weight(W_FD, rows)  # noqa: SLF001  no public name
    linear = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
    return lambda block: linear(x_TD[block], packed, None, "none", [], "")


def _bf16(prepare: Prepare) -> Prepare:
    return lambda x_TD, W_FD, rows: prepare(x_TD.bfloat16(), W_FD.bfloat16(), rows)


def _int8_mm(x_TD: Tensor, W_FD: Tensor, rows: int) -> Blocks:
    x_TD, W_FD = x_TD.to(torch.int8), W_FD.to(torch.int8)
    out = torch.empty(rows, len(W_FD), dtype=torch.int32, device=x_TD.device)
    return lambda block: torch._int_mm(x_TD[block], W_FD.t(), out=out[: len(x_TD[block])])  # noqa: SLF001


def _onednn_int8(x_TD: Tensor, W_FD: Tensor, rows: int) -> Blocks:
    x_TD = x_TD.to(torch.uint8)
    packed = torch.ops.onednn.qlinear_prepack(W_FD.to(torch.int8), [rows, x_TD.shape[1]])
    scales_F = torch.ones(len(W_FD))
    zeros_F = torch.zeros(len(W_FD), dtype=torch.int64)
    linear = torch.ops.onednn.qlinear_pointwise
    return lambda block: linear(
        x_TD[block], 1.0, 0, packed, scales_F, zeros_F, None, 1.0, 0, torch.float32, "none", [], ""
    )


WAYS = [
    Way("torch.mm", "fp32", _float_mm),
    Way("oneDNN", "fp32", _onednn),
    Way("torch.mm, matmul precision high", "fp32", _allowing("high")),
    Way("torch.mm, matmul precision medium", "fp32", _allowing("medium")),
    Way("torch.mm", "bf16", _bf16(_float_mm)),
    Way("oneDNN", "bf16", _bf16(_onednn)),
    Way("torch._int_mm", "int8", _int8_mm),
    Way("oneDNN", "int8", _onednn_int8),
]


@dataclass(frozen=True)
class Gemm:
    """What became of one way on this machine."""

    way: str
    precision: str
    rows: int
    seconds: float | None
    """None: it is not counted, and ``remark`` says why."""
    gflops: float | None
    relative_error: float | None
    remark: str = ""


@dataclass(frozen=True)
class Roof:
    """Of one machine with this number of threads."""

    threads: int
    gemms: list[Gemm]
    bandwidth: dict[str, float] = field(default_factory=dict)
    """Bytes per second that a copy and a sum move."""

    def best(self, precision: str) -> Gemm | None:
        """The fastest way in a precision."""
        counted = [gemm for gemm in self.gemms if gemm.precision == precision and gemm.seconds is not None]
        return min(counted, key=lambda gemm: gemm.seconds or 0.0, default=None)


def measure(workload: Workload, rounds: int = 5, bandwidth_bytes: int = 2**28) -> Roof:
    """The roofs with the encoder's matrix product of this workload."""
    gemms = list(itertools.chain.from_iterable(_gemms(workload, way, rounds) for way in WAYS))
    return Roof(torch.get_num_threads(), gemms, bandwidth(workload.device, rounds, bandwidth_bytes))


def encoder_product(workload: Workload, way: Way, rows: int) -> Callable[[], None]:
    """All scores of one batch, block by block; call it as often as needed."""
    x_TD, W_FD = _operands(workload, way.precision)
    multiply = way.prepare(x_TD, W_FD, rows)
    blocks = [slice(start, start + rows) for start in range(0, workload.tokens, rows)]

    def product() -> None:
        for block in blocks:
            multiply(block)

    return product


def _operands(workload: Workload, precision: str) -> tuple[Tensor, Tensor]:
    """Random ones; small integers for int8, so that every way of computing it must be exact."""
    rng = torch.Generator().manual_seed(0)
    shapes = (workload.tokens, workload.width), (workload.num_latents, workload.width)
    if precision == "int8":
        x_TD, W_FD = (torch.randint(0, 128, shape, generator=rng) for shape in shapes)
        return x_TD.to(workload.device), (W_FD - 64).to(workload.device)
    x_TD, W_FD = (torch.randn(shape, generator=rng).to(workload.device) for shape in shapes)
    return x_TD, W_FD


def _gemms(workload: Workload, way: Way, rounds: int) -> Iterator[Gemm]:
    for rows in sorted({min(ROWS, workload.tokens), workload.tokens}):
        try:
            error = relative_error(workload, way, rows)
            if error > TOLERANCE[way.precision]:
                remark = f"relative error {error:.0e}: not {way.precision} on this machine"
                yield Gemm(way.name, way.precision, rows, None, None, error, remark)
                return
            seconds = quickest(encoder_product(workload, way, rows), rounds)
        except (RuntimeError, AttributeError, TypeError) as problem:
            remark = f"not there: {str(problem).splitlines()[0][:80]}"
            yield Gemm(way.name, way.precision, rows, None, None, None, remark)
            return
        operations = 2.0 * workload.tokens * workload.width * workload.num_latents
        yield Gemm(way.name, way.precision, rows, seconds, operations / seconds / 1e9, error)


def relative_error(workload: Workload, way: Way, rows: int) -> float:
    """‖scores - scores in float64‖ / ‖scores in float64‖ of the first block."""
    x_TD, W_FD = _operands(workload, way.precision)
    block = slice(0, min(rows, 64))
    exact = x_TD[block].double() @ W_FD.double().t()
    got = way.prepare(x_TD, W_FD, rows)(slice(0, rows))[block]
    return float((got.double() - exact).norm() / exact.norm())


def bandwidth(device: str, rounds: int = 5, num_bytes: int = 2**28) -> dict[str, float]:
    """Bytes per second: a copy reads and writes, a sum reads."""
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    return {
        "copy": 2 * num_bytes / quickest(lambda: target.copy_(source), rounds),
        "sum": num_bytes / quickest(source.sum, rounds),
    }


def run(architecture: str, workload: Workload, batches: Iterator[Tensor], *, way: str = "", rows: int = 0) -> None:
    """As a training loop that only multiplies, or only moves memory, to be timed in turn with real ones.

    Args:
        architecture: the precision of the encoder's product, or ``adam``: what Adam moves, three arrays in and out.
    """
    if architecture == "adam":
        size = 2 * workload.num_latents * workload.width
        tensors = [torch.ones(size, device=workload.device) for _ in range(3)]
        for _ in batches:
            for tensor in tensors:
                tensor.add_(1.0)
        return
    chosen = next(one for one in WAYS if one.name == way and one.precision == architecture)
    product = encoder_product(workload, chosen, rows)
    for _ in batches:
        product()
