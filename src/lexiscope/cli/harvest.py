"""lexiscope harvest: text + model + hook points → activation store."""

from __future__ import annotations

from typing import Annotated

import typer

from lexiscope.cli.options import Device, Json, Out, Recipe, Seed, Set


def run(
    out: Out,
    recipe: Recipe = None,
    model: Annotated[str | None, typer.Option(help="demo, a Hugging Face name or a local folder.")] = None,
    corpus: Annotated[
        str | None, typer.Option(help="demo, stdlib, installed, generated, hf:NAME, a path, or several joined by +.")
    ] = None,
    hook: Annotated[list[str] | None, typer.Option(help="Hook point, e.g. resid_post.2; may be repeated.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Activations to store per hook point.")] = None,
    seed: Seed = None,
    device: Device = "cpu",
    assignments: Set = [],  # noqa: B006  typer needs a list
    json: Json = False,
) -> None:
    """Run a model over a corpus and keep its activations at one or more hook points."""
    from lexiscope.cli.console import ConsoleProgress, say, show_json
    from lexiscope.cli.inputs import identity, middle_hook
    from lexiscope.cli.recipes import HarvestRecipe
    from lexiscope.cli.stage import finished, say_begun, settings
    from lexiscope.core.hookpoint import HookPoint
    from lexiscope.harvest.harvest import harvest
    from lexiscope.harvest.store import ActivationStore
    from lexiscope.lm.model import LanguageModel
    from lexiscope.text.corpus import Corpus

    flags = {"model": model, "corpus": corpus, "hooks": hook or None, "tokens": tokens, "seed": seed}
    asked = HarvestRecipe.read(settings("harvest", recipe, flags, assignments), str(recipe or "flags"))
    loaded = LanguageModel(asked.model, device=device, dtype=asked.model_dtype)
    hooks = [str(HookPoint.parse(point)) for point in asked.hooks] or [middle_hook(loaded)]
    text = Corpus(asked.corpus, seed=asked.seed, split=asked.split, text_column=asked.text_column)
    context = asked.context or min(256, loaded.max_context)
    sizes = {"hooks": hooks, "dtype": asked.dtype, "context": context, "batch": asked.batch, "tokens": asked.tokens}
    if finished(out, "store", sizes, sources=identity(loaded, text)):
        say(f"{out} is done already")
    else:
        say_begun(out)
        harvest(
            loaded,
            text,
            hooks,
            out=out,
            tokens=asked.tokens,
            context=context,
            batch=asked.batch,
            dtype=asked.dtype,
            seed=asked.seed,
            progress=ConsoleProgress(),
        )
    store = ActivationStore.open(out)
    heldout = store.artifact.manifest["heldout_tokens"]
    if json:
        show_json({"store": str(out), "tokens": store.num_tokens, "heldout_tokens": heldout, "hooks": hooks})
        return
    say(f"{store.num_tokens:,} tokens at {', '.join(hooks)}, {heldout:,} of them held out, in {out}")
    if heldout in (0, store.num_tokens):
        say("nothing can be trained on it: all of it is on one side of the held-out split; give more documents")
    else:
        say(f"next: lexiscope train --store {out} --out FOLDER")
