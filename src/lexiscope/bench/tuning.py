"""What a careful user could do for a peer without touching its code: a faster fp32 product, and memory that is kept.

torch can hand fp32 products on processors to oneDNN, which is twice as fast as MKL on some of them. Its switch is
``torch.set_float32_matmul_precision("medium")``, which allows bf16 arithmetic, and with matrix units for bf16 takes it.
So the switch is granted only where the product is still fp32, which it may be made to be by keeping oneDNN from those
units; and only where it is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lexiscope.bench.process import Contender, Worker, WorkerError
from lexiscope.bench.workload import Workload

MALLOC_KEEPS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""glibc: take large blocks from the heap and keep them when they are freed, so that pages are not faulted in again."""
SWITCHES: list[Mapping[str, str]] = [{}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}]
"""Environments to try the switch in."""
TOLERANCE = 1e-5
WORTH = 0.95
"""Share of the time that a product must take, at most, to count as faster."""


@dataclass(frozen=True)
class Tuning:
    """What is granted, in words and as settings of a process."""

    environment: Mapping[str, str]
    medium: bool
    """Whether fp32 products go to oneDNN."""
    remarks: list[str] = field(default_factory=list)

    @property
    def for_ours(self) -> Mapping[str, str]:
        """The same for our own loops, which choose their product themselves."""
        return MALLOC_KEEPS


def tune(workload: Workload, threads: int, python: str) -> Tuning:
    """What helps the peers on this machine."""
    remarks = ["malloc keeps large blocks"]
    for switch in SWITCHES:
        probe = Contender("product", "", "fp32", workload, threads, python, environment={**MALLOC_KEEPS, **switch})
        where = " with " + " ".join(f"{key}={value}" for key, value in switch.items()) if switch else ""
        try:
            with Worker(probe, "product") as worker:
                found = worker.answer()
        except WorkerError as problem:
            remarks.append(f"fp32 product through oneDNN{where}: {problem}")
            continue
        told = f"fp32 product through oneDNN{where}: relative error {found['relative_error']:.0e}"
        if found["relative_error"] > TOLERANCE:
            remarks.append(f"{told}, which is not fp32: not granted")
            continue
        told += f", {1e3 * found['medium_seconds']:.0f} ms instead of {1e3 * found['seconds']:.0f}"
        if found["medium_seconds"] < WORTH * found["seconds"]:
            return Tuning({**MALLOC_KEEPS, **switch}, True, [*remarks, f"{told}: used"])
        remarks.append(f"{told}: no faster, not used")
    return Tuning(MALLOC_KEEPS, False, remarks)
