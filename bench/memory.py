"""Peak memory of training runs, foreseen and counted by the system.

    python bench/memory.py [--threads 1]

Every run is a process of its own, with activations that are made up as it goes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

SHAPES: list[dict[str, Any]] = [
    {"width": 32, "num_latents": 256, "tokens": 256, "k": 8},
    {"width": 256, "num_latents": 4096, "tokens": 2048, "k": 32},
    {"width": 512, "num_latents": 8192, "tokens": 4096, "k": 32},
    {"width": 512, "num_latents": 8192, "tokens": 4096, "architecture": "relu_l1"},
    {"width": 768, "num_latents": 24576, "tokens": 2048, "k": 32},
    {"width": 512, "num_latents": 32768, "tokens": 4096, "k": 32},
    {"width": 512, "num_latents": 32768, "tokens": 4096, "k": 32, "bits": 8},
    {"width": 1024, "num_latents": 16384, "tokens": 8192, "k": 64, "architecture": "batch_topk"},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(json.loads(arguments.run), arguments.threads)))
        return
    print("    D       F     T  architecture  bits   foreseen MB   peak MB    off")
    for shape in SHAPES:
        command = [sys.executable, __file__, "--threads", str(arguments.threads), "--run", json.dumps(shape)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        foreseen, peak = json.loads(answer.splitlines()[-1])
        print(
            f"{shape['width']:5}  {shape['num_latents']:6} {shape['tokens']:5}  {shape.get('architecture', 'topk'):12}"
            f"  {shape.get('bits', 32):4}  {foreseen / 2**20:12,.0f}  {peak / 2**20:8,.0f}  {foreseen / peak - 1:+.1%}",
            flush=True,
        )


def run(shape: dict[str, Any], threads: int) -> tuple[int, int]:
    """Train for a few steps; foreseen and counted peak in bytes."""
    import torch

    from lexiscope.core.hookpoint import HookPoint
    from lexiscope.saes.registry import read_config
    from lexiscope.train import TrainConfig, train
    from lexiscope.train.config import resolve
    from lexiscope.train.memory import estimate

    class Source:
        """Noise at one hook point."""

        hooks: ClassVar = [HookPoint.parse("resid_post.0")]

        def width(self, hook: HookPoint) -> int:  # noqa: ARG002
            return int(shape["width"])

        def batches(self, hook: HookPoint, *, batch_tokens: int, seed: int, **_: Any) -> Iterator[torch.Tensor]:  # noqa: ARG002
            rng = torch.Generator().manual_seed(seed)
            while True:
                yield torch.randn(batch_tokens, shape["width"], generator=rng)

        def describe(self) -> dict[str, Any]:
            return {}

    torch.set_num_threads(threads)
    settings = {key: shape[key] for key in ("k", "num_latents", "architecture") if key in shape}
    config = read_config({"architecture": "topk", **settings}, "bench")
    tokens = shape["tokens"]
    asked = TrainConfig(tokens=10 * tokens, batch_tokens=tokens, optimizer_bits=shape.get("bits", 32))
    expected = estimate([(config, resolve(asked, config, shape["width"])[0])], shape["width"])
    with tempfile.TemporaryDirectory() as folder:
        train(Source(), config, asked, out=Path(folder) / "sae")
    return expected.total, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
