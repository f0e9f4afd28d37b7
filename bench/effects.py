"""What features do to the logits: the ends and the shape of all effects of a dictionary, and who promotes a token.

    python bench/effects.py [--features 1000000] [--width 64 256] [--vocabulary 4096 50000]

Directions and unembedding are random, which changes nothing in the work. Blocks are independent: describing all
features is timed on some and told for all, the best of three. "promotes" is the median time for one token over all
features, from a file mapped into memory, and "spread" what is computed once per dictionary before it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lexiscope.core.tensors import write_tensors
from lexiscope.harvest.tensorfile import map_tensor
from lexiscope.index.directions.effects import describe_effects, effects_on, spread_of_effects

TIMED_EFFECTS = 2e8


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[4096, 50_000])
    asked = parser.parse_args()
    print(f"{asked.features:,} features, {torch.get_num_threads()} threads")
    for width in asked.width:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sae.safetensors"
            write_tensors(path, {"W_dec_FD": torch.randn(asked.features, width)})
            directions_FD = map_tensor(path, "W_dec_FD")
            for vocabulary in asked.vocabulary:
                U_DV = torch.randn(width, vocabulary) / width**0.5
                some = min(asked.features, int(TIMED_EFFECTS / vocabulary))
                part_FD = directions_FD[:some].clone()
                describe = min(
                    seconds(lambda U_DV=U_DV, part_FD=part_FD: describe_effects(U_DV, part_FD, keep=12))
                    for _ in range(3)
                )
                spread = seconds(lambda U_DV=U_DV, rows_FD=directions_FD: spread_of_effects(U_DV, rows_FD))
                times = sorted(
                    seconds(lambda U_DV=U_DV, rows_FD=directions_FD, token=token: effects_on(U_DV, rows_FD, [token]))
                    for token in range(9)
                )
                all_seconds = describe * asked.features / some
                print(
                    f"width {width:<4} vocabulary {vocabulary:<6} all effects {all_seconds:7.1f} s "
                    f"({describe / some / vocabulary * 1e9:4.1f} ns each)   spread {spread:5.2f} s   "
                    f"promotes {times[4] * 1e3:6.1f} ms",
                    flush=True,
                )


if __name__ == "__main__":
    main()
