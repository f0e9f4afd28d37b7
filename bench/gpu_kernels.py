"""Milliseconds of every Triton kernel on a CUDA device, against dense torch and against the stock path.

    python bench/gpu_kernels.py [--rounds 20] [--only NAME ...] [--json FILE]
    TRITON_INTERPRET=1 python bench/gpu_kernels.py --toy        # a rehearsal without a GPU: its times mean nothing

Sizes are those of a large dictionary in float32: D = 4,096, F = 131,072, T = 8,192 tokens, k = 64. The ways to do one
task take turns; medians of device time. A ratio above 1 means that Triton is faster. GB/s and TFLOP/s count what the
task needs (each entry's row and each output once; 2 T D F operations), not what a way happens to move or compute:
compare them with what the device can do. First the result of every way is compared with the dense one on a smaller
problem.

Written without a GPU at hand: only the rehearsal has been run so far.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import adam as stock_adam
from lexiscope.saes.kernels import backend, select, stock
from lexiscope.saes.kernels.triton import adam as triton_adam
from lexiscope.saes.kernels.triton import gather as triton_gather
from lexiscope.saes.kernels.triton import launch
from lexiscope.saes.kernels.triton import select as triton_select

BLOCK = 1024
"""Tokens whose dense [tokens, latents] matrix exists at once: 0.5 GB at full size."""
TOLERANCE = 1e-4
"""Relative error from which a result is wrong: float32 sums of a few thousand terms stay far below."""


class Sizes(NamedTuple):
    tokens: int
    width: int
    latents: int
    k: int


FULL, SMALL, TOY = Sizes(8192, 4096, 131_072, 64), Sizes(256, 256, 4096, 16), Sizes(6, 40, 96, 4)


class Task(NamedTuple):
    """One thing to do and the ways to do it, by name; the first is what the others are compared with."""

    ways: dict[str, Callable[[], SparseCodes | Tensor]]
    giga_bytes: float = 0.0
    tera_flops: float = 0.0


class Operands:
    """Random tensors of one size, made when they are asked for."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.sizes = sizes
        self._rng = torch.Generator(device).manual_seed(0)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._rng, device=self._rng.device)

    def codes(self, *, popular: bool) -> SparseCodes:
        """One of every F / k neighbouring latents for each token; ``popular``: latent 0 fires on all of them."""
        tokens, _, latents, k = self.sizes
        reach = latents // k
        firsts_T = torch.randint(reach, (tokens, 1), generator=self._rng, device=self._rng.device)
        latents_TK = firsts_T + torch.arange(k, device=self._rng.device) * reach
        if popular:
            latents_TK[:, 0] = 0
        return SparseCodes.from_topk(self.normal(tokens, k), latents_TK, latents)


def selection(make: Operands, name: str) -> Task:
    tokens, width, latents, k = make.sizes
    x_TD, W_FD, b_F = make.normal(tokens, width), make.normal(latents, width) / width**0.5, make.normal(latents) / 10
    floor = float(-torch.special.ndtri(torch.tensor(k / latents)))  # about k scores of a token exceed it
    setting = floor if name == "select_above" else k

    def dense() -> SparseCodes:
        parts = []
        for block_TD in x_TD.split(BLOCK):
            scores_TF = torch.addmm(b_F, block_TD, W_FD.T)
            if name == "select_topk":
                least = scores_TF.topk(k, dim=1).values[:, -1:]
            elif name == "select_batch_topk":  # of a block; only on a problem of one block is it the whole answer
                least = scores_TF.flatten().topk(k * len(block_TD)).values[-1]
            else:
                least = torch.tensor(floor, device=scores_TF.device)
            parts.append(SparseCodes.from_dense(torch.where(scores_TF >= least, scores_TF, 0).relu_()))
        return SparseCodes.concat(parts)

    def in_stock() -> SparseCodes:
        with backend.use("stock"):
            codes: SparseCodes = getattr(select, name)(x_TD, W_FD, b_F, setting)
        return codes

    def in_triton(shortlist: torch.dtype) -> Callable[[], SparseCodes]:
        return lambda: getattr(triton_select, name)(x_TD, W_FD, b_F, setting, shortlist=shortlist)

    ways = {"dense": dense, "stock": in_stock}
    ways |= {"triton": in_triton(torch.bfloat16), "triton fp32": in_triton(torch.float32)}
    return Task(ways, tera_flops=2 * tokens * width * latents / 1e12)


def product(make: Operands, name: str, *, popular: bool = False) -> Task:
    tokens, width, latents, k = make.sizes
    codes = make.codes(popular=popular)
    entries = (codes.latents, codes.offsets)
    table_FD = make.normal(latents, width)
    left_TD = make.normal(tokens, width)

    def blocks() -> list[tuple[slice, Tensor]]:
        out = []
        for first in range(0, tokens, BLOCK):
            rows = slice(first, min(first + BLOCK, tokens))
            span = slice(int(codes.offsets[rows.start]), int(codes.offsets[rows.stop]))
            part = SparseCodes(
                codes.offsets[rows.start : rows.stop + 1] - span.start, codes.latents[span], codes.values[span], latents
            )
            out.append((rows, part))
        return out

    def dense() -> Tensor:
        if name == "weighted_rows":
            return torch.cat([part.dense() @ table_FD for _, part in blocks()])
        if name == "row_dots":
            return torch.cat([(left_TD[rows] @ table_FD.T)[part.tokens(), part.latents] for rows, part in blocks()])
        out_FD = torch.zeros_like(table_FD)
        for rows, part in blocks():
            out_FD.addmm_(part.dense().T, left_TD[rows])
        return out_FD

    arguments = {
        "weighted_rows": (table_FD, *entries, codes.values),
        "row_dots": (left_TD, table_FD, *entries),
        "weighted_columns": (left_TD, *entries, codes.values, latents),
    }[name]
    ways = {
        "dense": dense,
        "stock": lambda: getattr(stock, name)(*arguments),
        "triton": lambda: getattr(triton_gather, name)(*arguments),
    }
    written = {"weighted_rows": tokens * width, "row_dots": tokens * k, "weighted_columns": latents * width}[name]
    return Task(ways, giga_bytes=4 * (tokens * k * width + written) / 1e9)


def adam_step(make: Operands) -> Task:
    _, width, latents, _ = make.sizes
    weights = make.normal(latents, width)
    weights /= weights.norm(dim=1, keepdim=True)
    grad = make.normal(latents, width)
    rates = stock_adam.Rates(1e-4, 0.9, 0.999, 1e-8, step=10)
    half = torch.full((), 0.5, device=weights.device)

    def way(kernels: object) -> Callable[[], Tensor]:
        ours = weights.clone()
        moments = {"first": torch.zeros_like(weights), "second": torch.zeros_like(weights)}

        def step() -> Tensor:
            g = (
                grad.clone() if latents <= SMALL.latents else grad
            )  # stock changes it; at full size that does not matter
            look = kernels.look(g, ours)  # type: ignore[attr-defined]
            kernels.update(ours, g, moments, rates, half, look.parallel_R)  # type: ignore[attr-defined]
            return ours

        return step

    return Task({"stock": way(stock_adam), "triton": way(triton_adam)}, giga_bytes=9 * 4 * latents * width / 1e9)


TASKS: dict[str, Callable[[Operands], Task]] = {
    "select_topk": lambda make: selection(make, "select_topk"),
    "select_above": lambda make: selection(make, "select_above"),
    "select_batch_topk": lambda make: selection(make, "select_batch_topk"),
    "weighted_rows": lambda make: product(make, "weighted_rows"),
    "row_dots": lambda make: product(make, "row_dots"),
    "weighted_columns": lambda make: product(make, "weighted_columns"),
    "popular latent": lambda make: product(make, "weighted_columns", popular=True),
    "adam": adam_step,
}


def compare(task: Task) -> dict[str, float]:
    """Relative error of every way against the first."""
    results = {
        name: (out.dense() if isinstance(out, SparseCodes) else out).double()
        for name, out in ((name, way()) for name, way in task.ways.items())
    }
    first = next(iter(results.values()))
    return {name: float((out - first).norm() / first.norm()) for name, out in results.items()}


def measure(task: Task, rounds: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds of every way; the first round, which compiles, does not count."""
    taken: dict[str, list[float]] = {name: [] for name in task.ways}
    for round_ in range(rounds + 1):
        for name, way in task.ways.items():
            if device.type == "cuda":
                began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                began.record()
                way()
                ended.record()
                torch.cuda.synchronize()
                milliseconds = began.elapsed_time(ended)
            else:
                start = time.perf_counter()
                way()
                milliseconds = 1000 * (time.perf_counter() - start)
            if round_:
                taken[name].append(milliseconds)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--toy", action="store_true", help="tiny sizes, on the CPU through Triton's interpreter")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    if not arguments.toy and not torch.cuda.is_available():
        sys.exit("there is no CUDA device here; rehearse with: TRITON_INTERPRET=1 python bench/gpu_kernels.py --toy")
    device = torch.device("cpu" if arguments.toy else "cuda")
    if arguments.toy:
        launch.PROGRAMS = 1  # the interpreter runs them one after another
    sizes, small = (TOY, TOY) if arguments.toy else (FULL, SMALL)
    torch.set_float32_matmul_precision("highest")
    where = "interpreter" if arguments.toy else torch.cuda.get_device_name()
    print(f"{where}: {sizes}, torch {torch.__version__}")
    figures, wrong = [], []
    for name in arguments.only:
        errors = compare(TASKS[name](Operands(small, device)))
        wrong += [f"{name}, {way}" for way, error in errors.items() if not error < TOLERANCE]
        task = TASKS[name](Operands(sizes, device))
        medians = measure(task, 1 if arguments.toy else arguments.rounds, device)
        for way, median in medians.items():
            rate = task.tera_flops or task.giga_bytes
            figure = {
                "task": name,
                "way": way,
                "milliseconds": median,
                "per_second": rate / median * 1000,
                "unit": "TFLOP/s" if task.tera_flops else "GB/s",
                "over_triton": median / medians["triton"],
                "relative_error": errors[way],
            }
            figures.append(figure)
            print(
                f"{name:>18} {way:>12} {median:10.2f} ms {figure['per_second']:9.1f} {figure['unit']:8}"
                f"ratio {figure['over_triton']:7.2f}   error {errors[way]:.1e}",
                flush=True,
            )
        del task
    if arguments.json:
        arguments.json.write_text(json.dumps({"where": where, "sizes": sizes._asdict(), "figures": figures}, indent=1))
    if wrong:
        sys.exit(f"wrong results: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
