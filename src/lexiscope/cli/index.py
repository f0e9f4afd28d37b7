"""lexiscope index: autoencoder → the concordance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.options import Beside, Device, Json, Sae, Set


def run(
    sae: Sae,
    out: Beside = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Activations to index; default: those it was trained on.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The language model; default: the one that was harvested.")] = None,
    part: Annotated[
        str | None, typer.Option(help="Only this share of the text, such as 2/8, for --parts later; needs --out.")
    ] = None,
    parts: Annotated[
        list[Path],
        typer.Option(help="A folder that --part wrote; give all of them, and nothing is encoded again."),
    ] = [],  # noqa: B006  typer needs a list
    device: Device = "cpu",
    assignments: Set = [],  # noqa: B006  typer needs a list
    json: Json = False,
) -> None:
    """Write down for every feature where it fires, on what, and what it does to the logits."""
    from lexiscope import saes
    from lexiscope.cli.console import ConsoleProgress, say, show_json
    from lexiscope.cli.inputs import open_model, open_store
    from lexiscope.cli.stage import finished, settings
    from lexiscope.core.errors import InputError
    from lexiscope.index.build import build_index, build_part
    from lexiscope.index.config import IndexConfig
    from lexiscope.index.feature_index import FeatureIndex
    from lexiscope.index.parts import KIND, Share

    autoencoder = saes.load(sae)
    assert autoencoder.artifact is not None
    activations = open_store(autoencoder.artifact, store)
    config = IndexConfig.read(settings("index", None, {}, assignments), "--set")
    if part is not None:
        if out is None or parts:
            raise InputError(
                "--part writes a folder of its own, of which --parts joins many: give --out, and no --parts"
            )
        share = Share.parse(part)
        rows = share.rows(activations.num_tokens)
        asked = {"index": config.model_dump(mode="json"), "rows": [rows.start, rows.stop]}
        if finished(out, KIND, asked, [activations.artifact, autoencoder.artifact]):
            say(f"{out} is done already")
        else:
            read_by = open_model(activations, model, device)
            build_part(autoencoder, read_by, activations, share, out=out, config=config, progress=ConsoleProgress())
            say(f"rows {rows.start:,} to {rows.stop:,} in {out}")
        return
    out = out or sae.absolute().parent / "index"
    if finished(out, "index", {"index": config.model_dump(mode="json")}, [activations.artifact, autoencoder.artifact]):
        say(f"{out} is done already")
        index = FeatureIndex.open(out)
    else:
        read_by = open_model(activations, model, device)
        index = build_index(
            autoencoder, read_by, activations, out=out, config=config, parts=parts, progress=ConsoleProgress()
        )
    if json:
        show_json(index.overview().model_dump(mode="json"))
    else:
        say(f"{autoencoder.num_latents:,} features in {out}")
        say(f"next: lexiscope view {out.parent}")
