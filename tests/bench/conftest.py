"""A workload that takes no time, and loops that do what a test says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lexiscope.bench.process import Contender
from lexiscope.bench.workload import Workload

LOOPS = """
import torch

kept = []

def run(architecture, workload, batches, *, fail_at=-1, megabytes=0, log=None):
    for number, x_TD in enumerate(batches):
        if number == fail_at:
            raise ValueError("it was told to fail\\nand more")
        if x_TD.shape[1] == workload.width == 32 and megabytes:
            kept.append(torch.ones(megabytes * 2**18))
            kept.clear()
        if log:
            with open(log, "a") as file:
                file.write(f"{architecture} ")
        print("noise on standard output")
"""


@pytest.fixture
def tiny() -> Workload:
    return Workload("tiny", width=32, num_latents=128, k=4, tokens=64)


@pytest.fixture
def loop(tmp_path: Path, tiny: Workload) -> Callable[..., Contender]:
    """Make a contender that runs the loop above, in a process of its own."""
    (tmp_path / "loops_of_a_test.py").write_text(LOOPS)

    def make(name: str, **options: Any) -> Contender:
        environment = {"PYTHONPATH": str(tmp_path)}
        return Contender(name, "loops_of_a_test", name, tiny, 1, options=options, environment=environment)

    return make
