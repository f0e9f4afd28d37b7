"""Where a measurement was made, and what else went on there."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

CPU_INFO = Path("/proc/cpuinfo")
CPU_TIMES = Path("/proc/stat")
L2_SIZE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")


@dataclass(frozen=True)
class Machine:
    processor: str
    cores: int
    threads: int
    device: str
    system: str
    python: str
    torch: str


def this_machine(threads: int, device: str) -> Machine:
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        threads=threads,
        device=torch.cuda.get_device_name(device) if device != "cpu" else "cpu",
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )


def cache_bytes(threads: int) -> int:
    """What the caches of that many cores hold, those that are not shared."""
    try:
        text = L2_SIZE.read_text(encoding="ascii").strip()
    except OSError:
        return threads * 2**21
    units = {"K": 2**10, "M": 2**20}
    return threads * (int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text))


class Bystanders:
    """The share of the processor that other programs used while the context was open; None where nobody knows."""

    def __init__(self) -> None:
        self.share: float | None = None

    def __enter__(self) -> Self:
        self._began, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()
        return self

    def __exit__(self, *exception: object) -> None:
        busy, cores = _busy_seconds(), os.cpu_count() or 1
        if busy is None or self._busy is None:
            return
        available = cores * (time.monotonic() - self._began)
        others = (busy - self._busy) - (_own_seconds() - self._own)
        self.share = min(1.0, max(0.0, others / available)) if available > 0 else 0.0


def _busy_seconds() -> float | None:
    """Since the machine started, over all cores: user, nice, system, interrupts, and what the host took away."""
    try:
        fields = [int(field) for field in CPU_TIMES.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    user, nice, system, _idle, _waiting, *rest = fields
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Of this process and of the children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _processor() -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
