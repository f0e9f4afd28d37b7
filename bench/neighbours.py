"""Nearest decoder directions: the exact search beside a plain product, and how near the nearest are.

    python bench/neighbours.py [--features 65536 1000000] [--width 64 256] [--keep 8] [--sae FOLDER]

Directions are made up: "random" ones, which have no structure, and "families", where ten share a parent; ``--sae``
takes those of a dictionary. Rows are independent, so a large dictionary is timed on some of them and told for all; the
plain product (float32, a block of rows, topk) the same way. The median cosine of the nearest feature says what a search
that is not exact could go by.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lexiscope import saes
from lexiscope.index.directions.neighbours import Neighbours, neighbours

MOST_SCORES = 3e10
"""Timed at once: some ten seconds of a core."""


def made_up(kind: str, features: int, width: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    own_FD = torch.randn(features, width, generator=random)
    if kind == "families":
        own_FD = (
            own_FD * 0.7 + torch.randn(-(-features // 10), width, generator=random).repeat_interleave(10, 0)[:features]
        )
    return torch.nn.functional.normalize(own_FD, dim=1)


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def plain(directions_FD: Tensor, rows_N: Tensor, keep: int) -> None:
    for part in torch.split(rows_N, 256):
        (directions_FD[part] @ directions_FD.T).topk(keep + 1)


def compare(name: str, directions_FD: Tensor, keep: int) -> None:
    features, width = directions_FD.shape
    live_F = torch.ones(features, dtype=torch.bool)
    rows = min(features, max(int(MOST_SCORES / features), 4096))
    found: list[Neighbours] = []
    exact = seconds(lambda: found.append(neighbours(directions_FD, live_F, keep, rows_N=torch.arange(rows))))
    few = min(rows, 512)
    product = seconds(lambda: plain(directions_FD, torch.arange(few), keep))
    exact, product = exact * features / rows, product * features / few
    nearest = float(found[0].cosines_FK[:, 0].median())
    print(
        f"{name:10} {features:>9,} x {width:<4} plain {product:8.1f} s   exact {exact:7.1f} s ({product / exact:4.1f}x)"
        f"   {features / exact * features / 1e9:5.2f} G cosines/s   nearest {nearest:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, nargs="+", default=[65_536, 1_000_000])
    parser.add_argument("--width", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--kinds", nargs="+", default=["random", "families"])
    parser.add_argument("--keep", type=int, default=8)
    parser.add_argument("--sae", type=Path)
    asked = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {asked.keep} neighbours")
    if asked.sae:
        compare("sae", saes.load(asked.sae).directions_FD.detach(), asked.keep)
        return
    for features in asked.features:
        for width in asked.width:
            for kind in asked.kinds:
                compare(kind, made_up(kind, features, width), asked.keep)


if __name__ == "__main__":
    main()
