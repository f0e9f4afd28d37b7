"""A process that holds one training loop, and lets it take one step whenever it is asked to.

It is started by `lexiscope.bench.process`, in this interpreter or in that of another library, and it speaks lines of
JSON. While it waits it blocks on a pipe, so that whoever's turn it is has the machine for itself. The loop under test
takes batches from an iterator; a step is the time from handing out a batch until the loop asks for the next.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from lexiscope.bench.clock import quickest, synchronise
from lexiscope.bench.workload import Workload

MEMORY_STEPS = 3


def main(spec: str) -> None:
    """Serve until standard input closes. ``spec`` is the JSON of `lexiscope.bench.process.Contender`."""
    asked = json.loads(spec)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to standard error
    try:
        _serve(asked, answers)
    except Exception as error:  # noqa: BLE001  the parent tells the user
        traceback.print_exc()
        _answer(answers, error=f"{type(error).__name__}: {error}".splitlines()[0])


def _serve(asked: dict[str, Any], answers: TextIO) -> None:
    torch.set_num_threads(asked["threads"])
    workload = Workload(**asked["workload"])
    if asked["measure"] == "product":
        _answer(answers, **_product(workload))
        return
    if asked["medium"]:
        torch.set_float32_matmul_precision("medium")
        torch.set_float32_matmul_precision = lambda precision: None  # noqa: ARG005  libraries may not undo it
    run = functools.partial(importlib.import_module(asked["module"]).run, asked["architecture"], **asked["options"])
    ring = workload.batches()
    if asked["measure"] == "memory":
        small = workload.miniature()
        run(small, itertools.islice(small.batches(), 2))
        before = reset_peak(workload.device)
        run(workload, itertools.islice(itertools.cycle(ring), MEMORY_STEPS))
        _answer(answers, peak_bytes=peak_bytes(workload.device) - before)
        return
    run(workload, _on_demand(ring, answers))


def _product(workload: Workload) -> dict[str, float]:
    """How exact the fp32 product of the encoder is when oneDNN may compute it, and how fast with and without."""
    x_TD, W_FD = torch.randn(workload.tokens, workload.width), torch.randn(workload.num_latents, workload.width)
    out = torch.empty(workload.tokens, workload.num_latents)
    seconds = quickest(lambda: torch.mm(x_TD, W_FD.t(), out=out), 5)
    torch.set_float32_matmul_precision("medium")
    medium_seconds = quickest(lambda: torch.mm(x_TD, W_FD.t(), out=out), 5)
    exact = x_TD[:64].double() @ W_FD.double().t()
    error = float((out[:64].double() - exact).norm() / exact.norm())
    return {"relative_error": error, "seconds": seconds, "medium_seconds": medium_seconds}


def _on_demand(ring: list[Tensor], answers: TextIO) -> Iterator[Tensor]:
    """A batch for every line on standard input, and the time that was spent on it."""
    _answer(answers, ready=True)
    batches = itertools.cycle(ring)
    for line in sys.stdin:
        if line.strip() != "step":
            return
        x_TD = next(batches)
        cpu, began = _cpu_seconds(), time.perf_counter()
        yield x_TD
        synchronise()
        seconds = time.perf_counter() - began
        _answer(answers, seconds=seconds, cpu_seconds=_cpu_seconds() - cpu)


def _answer(answers: TextIO, **content: object) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def reset_peak(device: str) -> int:
    """Forget the highest memory so far; returns the bytes in use now."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return _highest()
    return _status("VmRSS")


def peak_bytes(device: str) -> int:
    """The most bytes that were in use since `reset_peak`: resident memory, or what the device had given out."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") if Path("/proc/self/status").exists() else _highest()


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def _highest() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
