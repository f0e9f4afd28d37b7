"""lexiscope index: autoencoder → the concordance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.options import Device, Json, Out, Sae


def run(
    sae: Sae,
    out: Out,
    store: Annotated[
        Path | None, typer.Option("--store", help="Activations to index; default: those it was trained on.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The language model; default: the one that was harvested.")] = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Write down for every feature where it fires, on what, and what it does to the logits."""
    from lexiscope import saes
    from lexiscope.cli.console import ConsoleProgress, say, show_json
    from lexiscope.cli.inputs import open_model, open_store
    from lexiscope.cli.stage import finished
    from lexiscope.index.build import build_index
    from lexiscope.index.feature_index import FeatureIndex

    autoencoder = saes.load(sae)
    assert autoencoder.artifact is not None
    activations = open_store(autoencoder.artifact, store)
    if finished(out, "index", {}, [activations.artifact, autoencoder.artifact]):
        say(f"{out} is done already")
        index = FeatureIndex.open(out)
    else:
        language_model = open_model(activations.artifact, model, device)
        index = build_index(autoencoder, activations, language_model, out=out, progress=ConsoleProgress())
    if json:
        show_json(index.overview().model_dump(mode="json"))
    else:
        say(f"{autoencoder.num_latents:,} features in {out}")
        say(f"next: lexiscope view {out.parent}")
