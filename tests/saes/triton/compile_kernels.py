"""Compile every kernel for a GPU that need not be there, and print one line for each. Run as a program.

    python tests/saes/triton/compile_kernels.py [--full]

Launches become compilations: a driver that only knows the name of the device stands in for the real one. Results are
never computed, so the functions around the kernels see what `torch.zeros` and `torch.empty` left. --full takes the
sizes of `bench/gpu_kernels.py` (minutes, and 5 GB of memory) and adds the registers and spills that `ptxas` reports.
"""
# ruff: noqa: T201

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from lexiscope.saes.kernels.adam import Rates
from lexiscope.saes.kernels.triton import adam, gather, launch, scores, select, shortlist

HOPPER = GPUTarget("cuda", 90, 32)


class Absent:
    """What Triton asks of a driver before it compiles."""

    def get_current_target(self):
        return HOPPER

    def get_current_device(self):
        return 0

    def get_current_stream(self, _device):
        return 0


run = JITFunction.run
seen = set()


def compile_only(self, *args, grid, warmup, **settings):
    compiled = run(self, *args, grid=grid, warmup=True, **settings)
    if compiled.hash not in seen:
        seen.add(compiled.hash)
        print(self.__name__, resources(compiled), flush=True)
    return compiled


def resources(compiled):
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if "--full" not in sys.argv or not tool.exists():
        return ""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        report = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", report).groups()
    warps, shared = compiled.metadata.num_warps, compiled.metadata.shared
    return f"{registers} registers, {stack} bytes spilled, {shared} bytes shared, {warps} warps"


def main():
    driver.set_active(Absent())
    JITFunction.run = compile_only
    for module in (adam, gather, scores, shortlist):
        module.check = lambda *_: None
    tokens, width, latents, k = (128, 4096, 131_072, 64) if "--full" in sys.argv else (32, 96, 700, 3)
    if "--full" not in sys.argv:
        scores.TILES = dict.fromkeys((2, 4), scores.Tile(32, 32, 32, warps=4, stages=2))
        launch.NUMBERS = 512
    x_TD, W_FD, b_F = torch.zeros(tokens, width), torch.zeros(latents, width), torch.zeros(latents)
    for dtype in (torch.bfloat16, torch.float32):
        select.select_topk(x_TD, W_FD, b_F, k, shortlist=dtype)
    latents = 1024
    for dtype in (torch.bfloat16, torch.float64):
        x_TD, W_FD, b_F = x_TD.to(dtype), W_FD[:latents].to(dtype), b_F[:latents].to(dtype)
        select.select_topk(x_TD, W_FD, b_F, k, shortlist=torch.bfloat16)
    for dtype in (torch.float32, torch.bfloat16):
        left_TD, table_FD, values_N = (torch.zeros(*n, dtype=dtype) for n in ((512, width), (latents, width), (1024,)))
        entries = torch.zeros(1024, dtype=torch.int64), torch.arange(0, 1025, 2)
        gather.weighted_rows(table_FD, *entries, values_N)
        gather.row_dots(left_TD, table_FD, *entries)
        gather.weighted_columns(left_TD, *entries, values_N, latents)
    weights = torch.zeros(64, width)
    moments = {"first": weights.clone(), "second": weights.clone()}
    for unit in (weights, None):
        look = adam.look(weights, unit)
        adam.update(weights, weights, moments, Rates(1e-3, 0.9, 0.999, 1e-8, 1), None, look.parallel_R)


if __name__ == "__main__":
    main()
