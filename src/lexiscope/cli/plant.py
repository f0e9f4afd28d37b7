"""lexiscope plant: a model with a behaviour planted in it, and its clean twin."""

from __future__ import annotations

from typing import Annotated

import typer

from lexiscope.cli.options import Json, Out, Recipe, Seed, Set


def run(
    what: Annotated[str, typer.Argument(help="What to plant: sentiment, sycophancy or bias.")],
    out: Out,
    recipe: Recipe = None,
    model: Annotated[str | None, typer.Option(help="demo, a Hugging Face name or a local folder.")] = None,
    seed: Seed = None,
    assignments: Set = [],  # noqa: B006  typer needs a list
    json: Json = False,
) -> None:
    """Train a behaviour into a copy of a model, and a clean twin without it, to judge audits and suppression by.

    Takes minutes, and starts again if it is interrupted.
    """
    from time import monotonic

    from lexiscope.cli.console import ConsoleProgress, output, say, show_json
    from lexiscope.cli.inputs import identity
    from lexiscope.cli.pipeline import peak_rss_bytes
    from lexiscope.cli.stage import finished, settings
    from lexiscope.lm.model import LanguageModel
    from lexiscope.measure.worlds.planted.make import Config, plant
    from lexiscope.measure.worlds.planted.pair import KIND, PlantedPair
    from lexiscope.measure.worlds.planted.plant import draw
    from lexiscope.text.corpus import Corpus

    flags = {"plant": what, "model": model, "seed": seed}
    config = Config.read(settings("plant", recipe, flags, assignments), str(recipe or "flags"))
    draw(config.plant, config.seed)
    made_from = identity(LanguageModel(config.model), Corpus(config.corpus, seed=config.seed, split="train"))
    if finished(out, KIND, config.model_dump(mode="json", exclude={"model", "corpus"}), sources=made_from):
        say(f"{out} is done already")
        pair = PlantedPair(out)
    else:
        began = monotonic()
        pair = plant(config, out=out, progress=ConsoleProgress())
        say(f"{out} is done after {monotonic() - began:.0f} s, with {peak_rss_bytes() / 1e9:.1f} GB of memory")
    if json:
        show_json({"out": str(out), **pair.figures.for_json()})
        return
    output.print(f"{config.plant}: {pair.truth.behaviour}", markup=False, soft_wrap=True)
    output.print(str(pair.figures), markup=False, soft_wrap=True)
    if not all(check.passed for check in pair.figures.checks().values()):
        say("docs/planting.md says which setting helps against which failure")
    say(f"the models are {out / 'planted'} and {out / 'clean'}; what was planted is in {out / 'truth.json'}")
