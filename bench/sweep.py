"""What a sweep saves: eight autoencoders from one reading of a store, against each of them alone.

    python bench/sweep.py STORE [--hook resid_post.1] [--tokens 500000] [--latents 2048]

Both orders are run once, singles first in one half of the members and last in the other, so that a drift of the machine
meets both. Weights must be the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

from lexiscope.harvest.store import ActivationStore
from lexiscope.saes.registry import read_config
from lexiscope.saes.weights import WEIGHTS
from lexiscope.train import TrainConfig, sweep, train

MEMBERS = {
    "topk-16": {"architecture": "topk", "k": 16},
    "topk-32": {"architecture": "topk", "k": 32},
    "batch_topk-32": {"architecture": "batch_topk", "k": 32},
    "jumprelu-32": {"architecture": "jumprelu"},
    "relu_l1-32": {"architecture": "relu_l1"},
    "gated-32": {"architecture": "gated"},
    "topk-64": {"architecture": "topk", "k": 64},
    "batch_topk-64": {"architecture": "batch_topk", "k": 64},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--hook", default="resid_post.1")
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--latents", type=int, default=2048)
    arguments = parser.parse_args()
    store = ActivationStore.open(arguments.store)
    members = {}
    for name, settings in MEMBERS.items():
        config = read_config({"num_latents": arguments.latents, **settings}, name)
        target = None if "k" in settings else 32
        members[name] = config, TrainConfig(tokens=arguments.tokens, target_l0=target)
    singles: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)

        def alone(names: list[str]) -> None:
            for name in names:
                began = time.perf_counter()
                train(store, *members[name], hook=arguments.hook, out=out / "alone" / name)
                singles[name] = time.perf_counter() - began
                print(f"{name:16} {singles[name]:7.1f} s alone", flush=True)

        names = list(members)
        train(store, *members["topk-16"], hook=arguments.hook, out=out / "warm-up")
        alone(names[::2])
        began = time.perf_counter()
        sweep(store, members, hook=arguments.hook, out=out / "together")
        together = time.perf_counter() - began
        alone(names[1::2])
        different = [name for name in names if digest(out / "alone" / name) != digest(out / "together" / name)]
    total = sum(singles.values())
    print(f"sum of {len(names)} runs {total:.1f} s, sweep {together:.1f} s, ratio {together / total:.2f}")
    print(f"weights differ: {', '.join(different)}" if different else "weights are the same bytes")


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
