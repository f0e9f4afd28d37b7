"""lexiscope train: activation store → autoencoder."""

from __future__ import annotations

from typing import Annotated

import typer

from lexiscope.cli.options import Json, Out, Recipe, Set, Store


def run(
    out: Out,
    store: Store,
    recipe: Recipe = None,
    hook: Annotated[str | None, typer.Option(help="Which hook point of the store; not needed if it has one.")] = None,
    assignments: Set = [],  # noqa: B006  typer needs a list
    json: Json = False,
) -> None:
    """Train a sparse autoencoder, e.g. with --set sae.architecture=topk --set sae.k=32 --set optimise.tokens=4e6."""
    from lexiscope import saes
    from lexiscope.cli.console import ConsoleProgress, say, show_json
    from lexiscope.cli.recipes import TrainRecipe
    from lexiscope.cli.stage import finished, settings
    from lexiscope.harvest.store import ActivationStore
    from lexiscope.saes.registry import read_config
    from lexiscope.train.config import TrainConfig, resolve
    from lexiscope.train.source import choose_sites
    from lexiscope.train.run import train

    where = str(recipe or "flags")
    asked = TrainRecipe.read(settings("train", recipe, {"hook": hook}, assignments), where)
    sae_config = read_config(asked.sae, f"{where}, sae")
    train_config = TrainConfig.read(asked.optimise, f"{where}, optimise")
    opened = ActivationStore.open(store)
    sites = choose_sites(opened, asked.hook, asked.target)
    wanted = {
        "sae": sae_config.model_dump(mode="json"),
        "train": resolve(train_config, sae_config, sum(sites.widths(opened)[0]))[0].model_dump(mode="json"),
        "reads": [str(hook) for hook in sites.reads],
        "writes": [str(hook) for hook in sites.writes],
    }
    if finished(out, "sae", wanted, [opened.artifact]):
        say(f"{out} is done already")
        sae = saes.load(out)
    else:
        sae = train(
            opened, sae_config, train_config, hook=sites.reads, target=sites.writes, out=out, progress=ConsoleProgress()
        )
    assert sae.artifact is not None
    manifest = sae.artifact.manifest
    if json:
        show_json({"sae": str(out), "hook": str(sae.hook), "num_latents": sae.num_latents, **manifest["heldout"]})
        return
    for name, choice in manifest["choices"].items():
        say(f"chose {name} = {choice['value']} ({choice['reason']})")
    heldout = f"L0 {manifest['heldout']['l0']:.1f}, FVU {manifest['heldout']['fvu']:.3f} on held-out documents"
    say(f"{sae.num_latents:,} latents at {sae.hook}, {heldout}, in {out}")
    say(f"next: lexiscope measure {out}   lexiscope index {out}")
