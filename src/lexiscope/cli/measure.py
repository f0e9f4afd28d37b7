"""lexiscope measure: autoencoder → scorecard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.options import Beside, Device, Json, Sae, Set


def run(
    sae: Sae,
    out: Beside = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Activations; default: those it was trained on.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The language model; default: the one that was harvested.")] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Held-out text; default: that of the corpus it comes from.")
    ] = None,
    device: Device = "cpu",
    assignments: Set = [],  # noqa: B006  typer needs a list
    json: Json = False,
) -> None:
    """Score an autoencoder, beside what trivial dictionaries score on the same tokens."""
    from lexiscope import saes
    from lexiscope.cli.console import ConsoleProgress, output, say, show_json
    from lexiscope.cli.inputs import identity, open_model, open_store
    from lexiscope.cli.stage import finished, settings
    from lexiscope.measure.heldout import text_of
    from lexiscope.measure.scorecard import MeasureConfig, Scorecard, measure
    from lexiscope.text.corpus import Corpus

    config = MeasureConfig.read(settings("measure", None, {}, assignments), "--set")
    autoencoder = saes.load(sae)
    assert autoencoder.artifact is not None
    out = out or sae.absolute().parent / "scorecard"
    activations = open_store(autoencoder.artifact, store)
    text = text_of(activations) if corpus is None else Corpus(corpus, split="heldout")
    made_from = [activations.artifact, autoencoder.artifact]
    if finished(out, "scorecard", config.model_dump(mode="json"), made_from, identity(corpus=text)):
        say(f"{out} is done already")
        card = Scorecard.open(out)
    else:
        card = measure(
            autoencoder,
            open_model(activations, model, device),
            activations,
            corpus=text,
            config=config,
            out=out,
            progress=ConsoleProgress(),
        )
    if json:
        show_json(card.summary())
    else:
        output.print(str(card), markup=False, soft_wrap=True)
