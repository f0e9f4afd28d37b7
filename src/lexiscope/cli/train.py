"""lexiscope train: activation store → autoencoder, or many from one reading of the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexiscope.cli.options import Json, Out, Recipe, Set, Store

if TYPE_CHECKING:
    from lexiscope.cli.recipes import TrainRecipe
    from lexiscope.harvest.store import ActivationStore


def run(
    out: Out,
    store: Store,
    recipe: Recipe = None,
    hook: Annotated[str | None, typer.Option(help="Which hook point of the store; not needed if it has one.")] = None,
    target: Annotated[str | None, typer.Option(help="Which hook point a transcoder writes.")] = None,
    assignments: Set = [],  # noqa: B006  typer needs a list
    grid: Annotated[
        list[str], typer.Option("--grid", metavar="KEY=A,B,…", help="Train one for every value, e.g. sae.k=16,32,64.")
    ] = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Train a sparse autoencoder, e.g. with --set sae.architecture=topk --set sae.k=32 --set optimise.tokens=4e6."""
    from lexiscope.cli import sweep as sweeps
    from lexiscope.cli.recipes import TrainRecipe
    from lexiscope.cli.stage import settings
    from lexiscope.harvest.store import ActivationStore

    where = str(recipe or "flags")
    asked = TrainRecipe.read(settings("train", recipe, {"hook": hook, "target": target}, assignments), where)
    opened = ActivationStore.open(store)
    values = {**asked.grid, **sweeps.read_grid(grid)}
    if values or asked.members:
        sweeps.run(opened, asked, values, where, out, json=json)
    else:
        _run_one(opened, asked, where, out, json=json)


def _run_one(store: ActivationStore, asked: TrainRecipe, where: str, out: Path, *, json: bool) -> None:
    from lexiscope import saes
    from lexiscope.cli.console import ConsoleProgress, say, show_json
    from lexiscope.cli.inputs import heldout_of
    from lexiscope.cli.stage import finished, say_begun, say_memory
    from lexiscope.saes.registry import read_config
    from lexiscope.train.config import TrainConfig
    from lexiscope.train.memory import estimate
    from lexiscope.train.run import make_plan, train
    from lexiscope.train.source import choose_sites
    from lexiscope.train.spikes import Recovery

    sae_config = read_config(asked.sae, f"{where}, sae")
    train_config = TrainConfig.read(asked.optimise, f"{where}, optimise")
    recovery = Recovery.read(asked.recovery, f"{where}, recovery")
    sites = choose_sites(store, asked.hook, asked.target)
    plan = make_plan(store, sites, sae_config, train_config, out)
    if finished(out, "sae", plan.settings(sites), [store.artifact]):
        say(f"{out} is done already")
        sae = saes.load(out)
    else:
        say_begun(out)
        say_memory(
            estimate([(plan.sae, plan.train)], *sites.total_widths(store), heldout_rows=int(store.heldout_T.sum()))
        )
        places = {"hook": sites.reads, "target": sites.writes}
        sae = train(store, sae_config, train_config, **places, out=out, recovery=recovery, progress=ConsoleProgress())
    assert sae.artifact is not None
    found = heldout_of(sae.artifact)
    if json:
        show_json({"sae": str(out), "hook": str(sae.hook), "num_latents": sae.num_latents, **found})
        return
    for name, choice in sae.artifact.manifest.get("choices", {}).items():
        say(f"chose {name} = {choice['value']} ({choice['reason']})")
    heldout = f"L0 {found['l0']:.1f}, FVU {found['fvu']:.3f} on held-out documents"
    say(f"{sae.num_latents:,} latents at {', '.join(map(str, sae.reads))}, {heldout}, in {out}")
    say(f"next: lexiscope measure {out}   lexiscope index {out}")
