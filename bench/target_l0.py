"""How close a steered L0 comes to its target: every architecture with a penalty, at several targets, on one store.

    python bench/target_l0.py STORE [--hook resid_post.1] [--targets 16 32 64] [--tokens 2000000] [--out target_l0.json]

One sweep trains all of them. "in training" is the mean L0 over the last twentieth of the steps, before anything is
calibrated: what the controller reached by itself. "saved" is the L0 of the saved weights on held-out tokens that
calibration has not seen; FVU is measured on the same. "dead" is the share of latents silent at the end of training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lexiscope.cli.console import ConsoleProgress
from lexiscope.core.seeds import derive_seed
from lexiscope.harvest.store import ActivationStore
from lexiscope.saes import SparseAutoencoder, gated, jumprelu, relu_l1
from lexiscope.train import TrainConfig, sweep
from lexiscope.train.check import fidelity
from lexiscope.train.source import batches_at, choose_sites

CONFIGS = {
    "jumprelu": jumprelu.Config,
    "jumprelu tanh": lambda **size: jumprelu.Config(penalty="tanh", **size),
    "gated": gated.Config,
    "gated unit rows": lambda **size: gated.Config(penalty="l1", **size),
    "relu_l1": relu_l1.Config,
    "relu_l1 free rows": lambda **size: relu_l1.Config(penalty="decoder_norm", **size),
    "relu_l1 p = 0.5": lambda **size: relu_l1.Config(p_end=0.5, **size),
}
DEFAULT = ["jumprelu", "gated", "relu_l1"]
TOLERANCE = 0.05


class Row(NamedTuple):
    name: str
    target: float
    in_training: float
    saved: float
    fvu: float
    dead: float

    @property
    def off(self) -> float:
        """The larger of the two distances from the target, as a share of it."""
        return max(abs(l0 / self.target - 1) for l0 in (self.in_training, self.saved))


def judge(name: str, target: float, sae: SparseAutoencoder, store: ActivationStore, config: TrainConfig) -> Row:
    assert sae.artifact is not None
    metrics = [json.loads(line) for line in (sae.artifact.path / "metrics.jsonl").read_text().splitlines()]
    end = metrics[-max(1, len(metrics) // 20) :]
    sites = choose_sites(store, sae.reads)
    seed = derive_seed(config.seed, "heldout")
    rows = batches_at(store, sites, batch_tokens=4096, seed=seed, split="heldout", epochs=1)
    fresh = islice(rows, config.heldout_tokens // 4096, None)  # the first ones have calibrated it
    l0, fvu = fidelity(sae, fresh)
    return Row(name, target, sum(line["l0"] for line in end) / len(end), l0, fvu, metrics[-1]["dead_fraction"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--hook", help="which hook point of the store; not needed if it has one")
    parser.add_argument("--architectures", nargs="+", choices=CONFIGS, default=DEFAULT)
    parser.add_argument("--targets", nargs="+", type=float, default=[16, 32, 64])
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--expansion", type=float, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the rows as JSON")
    asked = parser.parse_args()
    store = ActivationStore.open(asked.store)
    config = TrainConfig(tokens=asked.tokens, seed=asked.seed, log_every_steps=1, evaluate_every_steps=10**9)
    members = {
        f"{name} {target:g}": (
            CONFIGS[name](expansion=asked.expansion),
            config.model_copy(update={"target_l0": target}),
        )
        for name in asked.architectures
        for target in asked.targets
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        saes = sweep(store, members, hook=asked.hook, out=folder, progress=ConsoleProgress())
        for name, sae in saes.items():
            rows.append(judge(name.rpartition(" ")[0], members[name][1].target_l0 or 0, sae, store, config))
    print(f"{'':<20} {'target':>7} {'in training':>12} {'saved':>8} {'FVU':>8} {'dead':>7}")
    for row in rows:
        figures = f"{row.target:>7g} {row.in_training:>12.2f} {row.saved:>8.2f} {row.fvu:>8.4f} {row.dead:>7.2%}"
        print(f"{row.name:<20} {figures}{'' if row.off <= TOLERANCE else '   off by ' + format(row.off, '.1%')}")
    if asked.out:
        asked.out.write_text(json.dumps([row._asdict() for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
