"""What a run in bfloat16 loses against the same run in float32, for every architecture that reads and writes one place.

    python bench/precision.py STORE [--hook resid_post.1] [--architectures topk gated] [--out bf16.json]

One sweep trains all, from the same first weights on the same batches. FVE is that of the saved weights, in float32 and
in bfloat16 matrices, on held-out activations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from lexiscope import saes
from lexiscope.cli.console import ConsoleProgress
from lexiscope.harvest.store import ActivationStore
from lexiscope.saes import SparseAutoencoder
from lexiscope.saes.settings import SaeConfig
from lexiscope.train import TrainConfig, sweep

ELSEWHERE = {"transcoder", "crosscoder"}
"""They write another place than they read, or several."""
RUNS = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "saved": {"precision": "bfloat16", "weights_dtype": "bfloat16"},
}
ENOUGH = 0.005


class Row(NamedTuple):
    architecture: str
    float32: float
    bfloat16: float
    saved: float
    """Trained and saved in bfloat16."""


def autoencoders() -> list[str]:
    modules = saes.architectures().items()
    return [name for name, module in modules if "baselines" not in module.__name__ and name not in ELSEWHERE]


def config_of(architecture: str, expansion: float, l0: int) -> SaeConfig:
    config_type = saes.architectures()[architecture].Config
    k = {"k": l0} if "k" in config_type.model_fields else {}
    config: SaeConfig = config_type(expansion=expansion, **k)
    return config


def fve(sae: SparseAutoencoder) -> float:
    assert sae.artifact is not None
    return 1 - float(sae.artifact.manifest["heldout"]["fvu"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--hook", help="which hook point of the store; not needed if it has one")
    parser.add_argument("--architectures", nargs="+", choices=autoencoders(), default=autoencoders())
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--expansion", type=float, default=8)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the rows as JSON")
    asked = parser.parse_args()
    members = {}
    for architecture in asked.architectures:
        sae = config_of(architecture, asked.expansion, asked.l0)
        target = asked.l0 if sae.needs_target_l0 else None
        for name, settings in RUNS.items():
            common = {"tokens": asked.tokens, "seed": asked.seed, "target_l0": target, "evaluate_every_steps": 10**9}
            members[f"{name}@{architecture}"] = sae, TrainConfig.model_validate({**common, **settings})
    store = ActivationStore.open(asked.store)
    with tempfile.TemporaryDirectory() as folder:
        trained = sweep(store, members, hook=asked.hook, out=folder, progress=ConsoleProgress())
        rows = [Row(name, *(fve(trained[f"{run}@{name}"]) for run in RUNS)) for name in asked.architectures]
    print(f"{'FVE':<20} {'float32':>9} {'bfloat16':>9} {'saved so':>9} {'apart':>8}")
    for row in rows:
        apart = max(abs(row.bfloat16 - row.float32), abs(row.saved - row.float32))
        poor = "   more than 0.005" if apart > ENOUGH else ""
        print(f"{row.architecture:<20} {row.float32:>9.4f} {row.bfloat16:>9.4f} {row.saved:>9.4f} {apart:>8.4f}{poor}")
    if asked.out:
        asked.out.write_text(json.dumps([row._asdict() for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
