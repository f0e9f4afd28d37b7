"""The same seed gives the same bytes, run after run, through the command line and the real model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lexiscope.core.artifact import open_artifact

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny.toml"


def lexiscope(*arguments: object) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "lexiscope.cli.main", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_same_seed_gives_the_same_hashes(tmp_path, amount, figure):
    runs = amount(2, 10)
    stores, saes = set(), set()
    for run in range(runs):
        folder = tmp_path / str(run)
        short = ["--set", "optimise.tokens=40000"]
        lexiscope("harvest", RECIPE, "--tokens", 12_000, "--corpus", "generated", "--out", folder / "store")
        lexiscope("train", RECIPE, "--store", folder / "store", "--out", folder / "sae", *short)
        stores.add(open_artifact(folder / "store", "store").fingerprint)
        saes.add(open_artifact(folder / "sae", "sae").fingerprint)
    figure("runs of one seed with the same hashes", f"{runs} of {runs}", "10 of 10")
    assert len(stores) == len(saes) == 1
