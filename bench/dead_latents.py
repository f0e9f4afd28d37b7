"""How many latents are dead at the end of a run, by what was done about it.

    python bench/dead_latents.py STORE [--hook resid_post.1] [--tokens 1000000] [--places heavy] [--out dead.json]

Three places: the store with 16 latents per dimension, the store with 32, and a world with outlier dimensions and
outlier tokens (`lexiscope.measure.worlds.linear.HEAVY`). One sweep per place trains all. "dead" is the share of latents
silent for the last twentieth of the run's tokens; FVU is that of the saved weights on held-out activations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from lexiscope.cli.console import ConsoleProgress
from lexiscope.harvest.store import ActivationStore
from lexiscope.measure.worlds.linear import HEAVY, LinearWorld
from lexiscope.saes import SparseAutoencoder, architectures
from lexiscope.train import TrainConfig, sweep
from lexiscope.train.source import ActivationSource


class Remedy(NamedTuple):
    sae: dict[str, Any]
    optimise: dict[str, Any]


REMEDIES = {
    "default": Remedy({}, {}),
    "AuxK": Remedy({}, {"terms": ("auxk",)}),
    "none": Remedy({}, {"terms": ()}),
    "no centring either": Remedy({}, {"terms": (), "normalise": "none"}),
    "resampling": Remedy({}, {"terms": ("resample",)}),
    "active subspace": Remedy({"init": "subspace"}, {"terms": ()}),
    "balanced start": Remedy({"init": "balanced"}, {"terms": ()}),
    "start on data": Remedy({"init": "data"}, {"terms": ()}),
    "aligned": Remedy({}, {"terms": ("alignment",)}),
}
ENOUGH = 0.01


class Row(NamedTuple):
    place: str
    remedy: str
    architecture: str
    dead: float
    fvu: float


def judge(place: str, name: str, sae: SparseAutoencoder) -> Row:
    assert sae.artifact is not None
    last = json.loads((sae.artifact.path / "metrics.jsonl").read_text().splitlines()[-1])
    remedy, _, architecture = name.partition("@")
    return Row(place, remedy, architecture, last["dead_fraction"], sae.artifact.manifest["heldout"]["fvu"])


def run(place: str, source: ActivationSource, expansion: int, asked: argparse.Namespace) -> list[Row]:
    config = TrainConfig(tokens=asked.tokens, seed=asked.seed, evaluate_every_steps=10**9)
    members = {}
    for architecture in asked.architectures:
        make = architectures()[architecture].Config
        for name in asked.remedies:
            sae, optimise = REMEDIES[name]
            sized = make(expansion=expansion, **sae)
            members[f"{name}@{architecture}"] = sized, TrainConfig.model_validate({**config.model_dump(), **optimise})
    hook = asked.hook if isinstance(source, ActivationStore) else None
    with tempfile.TemporaryDirectory() as folder:
        saes = sweep(source, members, hook=hook, out=folder, progress=ConsoleProgress())
        return [judge(place, name, sae) for name, sae in saes.items()]


def show(rows: list[Row], architectures: list[str]) -> None:
    found = {row[:3]: row for row in rows}
    print(f"{'dead and FVU':<34}" + "".join(f"{name:>20}" for name in architectures))
    for place, remedy in dict.fromkeys(row[:2] for row in rows):
        cells = [found[place, remedy, name] for name in architectures]
        figures = "".join(f"{cell.dead:>12.2%} {cell.fvu:.4f} " for cell in cells)
        poor = remedy == "default" and any(cell.dead > ENOUGH for cell in cells)
        print(f"{place + ', ' + remedy:<34}{figures}{'  more than 1 %' if poor else ''}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--hook", help="which hook point of the store; not needed if it has one")
    parser.add_argument("--places", nargs="+", choices=["x16", "x32", "heavy"], default=["x16", "x32", "heavy"])
    parser.add_argument("--architectures", nargs="+", default=["topk", "batch_topk"])
    parser.add_argument("--remedies", nargs="+", choices=REMEDIES, default=list(REMEDIES))
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the rows as JSON")
    asked = parser.parse_args()
    store, rows = ActivationStore.open(asked.store), []
    for place in asked.places:
        source = LinearWorld(HEAVY) if place == "heavy" else store
        part = run(place, source, 32 if place == "x32" else 16, asked)
        show(part, asked.architectures)
        rows += part
    if asked.out:
        asked.out.write_text(json.dumps([row._asdict() for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
