"""What checkpoints cost: how long a run stands still for one, and how long it takes to go on.

    python bench/checkpoints.py STORE [--hook resid_post.1] [--latents 4096 32768]

One run per size: it is broken off after a checkpoint and started again. "share" is the time for a checkpoint in a
minute, the default interval, which is longer where it would exceed 1 %; "going on" lasts from the call to the first
step after it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lexiscope.core.checkpoint import STALL, Checkpoints
from lexiscope.harvest.store import ActivationStore
from lexiscope.saes import topk
from lexiscope.train.config import TrainConfig
from lexiscope.train.run import train
from lexiscope.train.spikes import Recovery

STEPS = 6


class Over(BaseException):
    """Ends a run from its progress bar."""


class Bar:
    """Notes when batches end, and ends the run at one of them."""

    def __init__(self, last: int) -> None:
        self.times: list[float] = []
        self.last = last

    @contextmanager
    def task(self, title: str, total: float | None, unit: str) -> Iterator[Bar]:  # noqa: ARG002
        yield self

    def advance(self, amount: float, note: str = "") -> None:  # noqa: ARG002
        self.times.append(time.perf_counter())
        if len(self.times) == self.last:
            raise Over


def measure(store: ActivationStore, hook: str, latents: int) -> tuple[float, int, float]:
    """Seconds for a checkpoint, its bytes, and seconds from the call to the first step of a run that goes on."""
    config, asked = topk.Config(num_latents=latents), TrainConfig(tokens=4096 * 1000)
    spent: list[float] = []
    save = Checkpoints.save

    def timed(self: Checkpoints, *arguments: object) -> None:
        began = time.perf_counter()
        save(self, *arguments)  # type: ignore[arg-type]
        spent.append(time.perf_counter() - began)

    Checkpoints.save = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "sae"
            for last in (STEPS, 2):  # the second run's bar first hears of all steps done before
                bar, began = Bar(last), time.perf_counter()
                with suppress(Over):
                    train(store, config, asked, hook=hook, out=out, recovery=Recovery(every_steps=2), progress=bar)
            size = sum(path.stat().st_size for path in Path(folder).rglob("state.safetensors"))
            kept = len(list(Path(folder).rglob("state.safetensors")))
            return sorted(spent)[len(spent) // 2], size // kept, bar.times[-1] - began
    finally:
        Checkpoints.save = save  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--hook", default="resid_post.1")
    parser.add_argument("--latents", type=int, nargs="+", default=[4096, 32_768])
    arguments = parser.parse_args()
    store = ActivationStore.open(arguments.store)
    interval = Recovery().every_seconds
    print(f"{store.num_tokens:,} rows; the least interval is {interval:g} s")
    for latents in arguments.latents:
        cost, size, on = measure(store, arguments.hook, latents)
        share = cost / max(interval, cost / STALL)
        print(f"{latents:>8,} latents  {size / 1e6:8.1f} MB  {cost:6.2f} s  share {share:.2%}  going on {on:5.2f} s")


if __name__ == "__main__":
    main()
