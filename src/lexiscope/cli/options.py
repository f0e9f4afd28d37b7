"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[Path | None, typer.Argument(help="A TOML recipe; flags change what it says.")]
Sae = Annotated[Path, typer.Argument(help="The folder of a trained autoencoder.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to make. The same command on a finished one does nothing.")]
Beside = Annotated[Path | None, typer.Option("--out", help="Folder to make; default: beside the autoencoder.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. optimise.lr=2e-4.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Store = Annotated[Path, typer.Option("--store", help="The folder of an activation store.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random choice.")]
Device = Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1 ...")]
