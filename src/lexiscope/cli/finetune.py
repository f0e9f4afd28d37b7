"""lexiscope finetune: an autoencoder, trained further through its language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.options import Device, Json, Out, Recipe, Sae, Set


def run(
    sae: Sae,
    out: Out,
    recipe: Recipe = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Activations; default: those it was trained on.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The language model; default: the one that was harvested.")] = None,
    device: Device = "cpu",
    assignments: Set = [],  # noqa: B006  typer needs a list
    json: Json = False,
) -> None:
    """Train an autoencoder end to end: by what its reconstructions do to the model's predictions."""
    from itertools import islice

    from lexiscope import saes
    from lexiscope.cli.console import ConsoleProgress, say, show_json
    from lexiscope.cli.inputs import heldout_of, open_model, open_store, passages, predictions_of
    from lexiscope.cli.recipes import FinetuneRecipe
    from lexiscope.cli.stage import finished, settings
    from lexiscope.train.config import TrainConfig
    from lexiscope.train.finetune import Config, finetune

    where = str(recipe or "flags")
    asked = FinetuneRecipe.read(settings("finetune", recipe, {}, assignments), where)
    started = saes.load(sae)
    assert started.artifact is not None
    activations = open_store(started.artifact, store)
    language_model = open_model(activations, model, device)
    config = Config(loss=asked.loss, weight=asked.weight)
    optimise = {"tokens": asked.tokens, "lr": asked.lr, "batch_tokens": asked.batch * asked.context, **asked.optimise}
    train_config = TrainConfig.read(optimise, f"{where}, optimise")
    if finished(out, "sae", {"finetune": config.model_dump(mode="json")}, [started.artifact]):
        say(f"{out} is done already")
        tuned = saes.load(out)
    else:
        size = {"context": asked.context, "batch": asked.batch}
        texts = passages(language_model, activations, "train", **size)
        heldout = passages(language_model, activations, "heldout", **size)
        tuned = finetune(
            started,
            texts,
            list(islice(heldout, max(1, train_config.heldout_tokens // train_config.batch_tokens))),
            train_config,
            config,
            out=out,
            progress=ConsoleProgress(),
        )
    assert tuned.artifact is not None
    found = heldout_of(tuned.artifact)
    before, after = predictions_of(tuned.artifact)
    if json:
        show_json({"sae": str(out), **found, "before": before, "after": after})
        return
    say(f"KL to the model {before['kl']:.4f} -> {after['kl']:.4f} nats per token of held-out text")
    say(f"cross-entropy {before['cross_entropy']:.4f} -> {after['cross_entropy']:.4f}")
    say(f"L0 {found['l0']:.1f}, FVU {found['fvu']:.3f}, in {out}")
