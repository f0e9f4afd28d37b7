"""lexiscope steer: a prompt → what the model writes, and what it writes with features changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lexiscope.cli.options import Device, Json

if TYPE_CHECKING:
    from lexiscope.lm.model import LanguageModel
    from lexiscope.saes.base import SparseAutoencoder
    from lexiscope.steer.interventions import AnyIntervention
    from lexiscope.steer.live import LiveToken

NONE: list[str] = []
FORMS = {
    "clamp": ("to", "123=2max"),
    "scale": ("by", "123=0.5"),
    "add": ("by", "123=-1.5"),
    "cap": ("to", "123=1max"),
    "ablate": ("to", "123 or 123=mean"),
    "patch": ("source", "123=another prompt, or all=another prompt"),
}
"""What stands behind the equals sign, and an example."""


def run(
    sae: Annotated[Path, typer.Argument(help="A run folder, or the folder of an autoencoder or of a saved edit.")],
    prompt: Annotated[list[str], typer.Option(help="What the model goes on from; may be given several times.")] = NONE,
    clamp: Annotated[list[str], typer.Option(metavar="F=S", help="Set features: 123=2max, 4,5=8, 6=1q0.9.")] = NONE,
    scale: Annotated[list[str], typer.Option(metavar="F=X", help="Multiply features: 123=0.5.")] = NONE,
    add: Annotated[list[str], typer.Option(metavar="F=S", help="Add to features: 123=-1.5.")] = NONE,
    ablate: Annotated[list[str], typer.Option(metavar="F", help="Take features away: 123, 4,5, 6=mean.")] = NONE,
    cap: Annotated[list[str], typer.Option(metavar="F=S", help="Cap the projection on a feature: 123=1max.")] = NONE,
    patch: Annotated[
        list[str], typer.Option(metavar="F=PROMPT", help="Features as on the last token of another prompt, or all=...")
    ] = NONE,
    positions: Annotated[
        str | None, typer.Option(help="Where, for the options above: -4:, 2:5 or 0,3,-1; default: everywhere.")
    ] = None,
    on: Annotated[
        Literal["all", "prompt", "generated"], typer.Option(help="On which tokens, for the options above.")
    ] = "all",
    recipe: Annotated[Path | None, typer.Option(help="A TOML file of interventions, before those above.")] = None,
    error: Annotated[
        Literal["keep", "drop"] | None, typer.Option(help="What the dictionary does not explain; default: keep.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=0, help="New tokens, at most.")] = 60,
    sample: Annotated[
        float, typer.Option(min=0, metavar="TEMPERATURE", help="Draw tokens; 0 takes the likeliest each time.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn, for both texts.")] = 0,
    index: Annotated[Path | None, typer.Option(help="The index; default: that beside the autoencoder.")] = None,
    model: Annotated[str | None, typer.Option(help="The language model; default: the one that was harvested.")] = None,
    device: Device = "cpu",
    allow_dead: Annotated[bool, typer.Option("--allow-dead", help="Features that never fire are let through.")] = False,
    save: Annotated[Path | None, typer.Option(help="Keep the change as an edit in this folder.")] = None,
    purpose: Annotated[str, typer.Option(help="What the edit that is saved is for.")] = "",
    spend: Annotated[
        str | None, typer.Option(metavar="RULE", help="Run on some features: k=8, threshold=0.5, prefix=1024 or all.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="With --spend: write down all that fires, used or not, in this folder.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Show each steered token as it comes, with the features that fire on it.")
    ] = False,
    json: Json = False,
) -> None:
    """Write on from a prompt, as the model is and with features of a dictionary changed, by the same seed.

    A patch of all features comes first, then features are changed in the order of a recipe, clamp, scale, add, ablate,
    patch; caps, which cut the activation itself, come last.
    """
    from lexiscope import saes
    from lexiscope.cli.console import say, show_json
    from lexiscope.cli.inputs import model_of
    from lexiscope.cli.names import names_of
    from lexiscope.core.errors import InputError
    from lexiscope.index.feature_index import FeatureIndex
    from lexiscope.steer.edit import RECIPE, Edit, Report, save_edit
    from lexiscope.steer.editing import editing
    from lexiscope.steer.live import stream
    from lexiscope.steer.recipe import Recipe
    from lexiscope.web.notebook import whoever_runs_this

    given = {"clamp": clamp, "scale": scale, "add": add, "cap": cap, "ablate": ablate, "patch": patch}
    where = {"tokens": on} | ({} if positions is None else {"positions": _positions(positions)})
    known = Recipe((), "keep") if recipe is None else Recipe.read(recipe)
    kept = Edit.open(sae) if (sae / RECIPE).is_file() else None
    if kept is not None:
        known = Recipe((*kept.recipe.edits, *known.edits), kept.recipe.error)
    edits = [*known.edits, *(_edit(kind, text, where) for kind, texts in given.items() for text in texts)]
    error = error or known.error
    if not edits and not live and spend is None:
        raise InputError("nothing is to be changed; give --clamp 123=2max, another intervention or --recipe, or --live")
    if live and save is not None:
        raise InputError("--live shows a change and --save keeps it; give one of them at a time")
    if not prompt and save is None:
        raise InputError("there is nothing to go on from; give --prompt, or --save to keep the change")
    if spend is not None and (edits or live or save):
        raise InputError("--spend runs the unchanged model on some of its features; leave out what changes them")
    if record is not None and spend is None:
        raise InputError("--record goes with --spend; give --spend all to use everything that fires")
    folder = sae / "sae" if (sae / "sae").is_dir() else sae
    dictionary = saes.load(folder) if kept is None else kept.dictionary()
    assert dictionary.artifact is not None
    folder = dictionary.artifact.path
    beside = folder.absolute().parent / "index"
    found = FeatureIndex.open(index or beside) if index is not None or beside.is_dir() else None
    language_model = model_of(dictionary.artifact, model, device)
    if live:
        names = None if found is None else names_of(found)
        for text in prompt:
            told = stream(
                language_model,
                dictionary,
                text,
                edits,
                index=found,
                labels=names,
                error=error,
                with_prompt=True,
                max_new_tokens=tokens,
                temperature=sample,
                seed=seed,
                allow_dead=allow_dead,
            )
            _show_live(told, json=json)
        return

    def written(text: str) -> str:
        return language_model.generate(text, max_new_tokens=tokens, temperature=sample, seed=seed)

    if save is not None:
        report = Report(purpose=purpose, author=whoever_runs_this())
        save_edit(save, Recipe(tuple(edits), error), language_model, dictionary, units=found, report=report)
        say(f"kept in {save}; lexiscope steer {save} --prompt ... applies it")
    steered: AbstractContextManager[None]
    if spend is not None:
        steered = _spending(language_model, dictionary, spend, record)
    else:
        steered = editing(language_model, dictionary, edits, units=found, error=error, allow_dead=allow_dead)
    texts = [{"prompt": text, "default": written(text)} for text in prompt]
    with steered:
        texts = [text | {"steered": written(text["prompt"])} for text in texts]
    if json:
        said = Recipe(tuple(edits), error).values() | ({} if spend is None else {"spend": spend})
        show_json({"sae": str(folder), "model": language_model.name, **said, "seed": seed, "texts": texts})
    elif texts:
        _show(texts)


@contextmanager
def _spending(model: LanguageModel, sae: SparseAutoencoder, spend: str, record: Path | None) -> Iterator[None]:
    """Run on some of the features, and write all of them down if that is asked for."""
    from lexiscope.steer.spending.frugal import frugal
    from lexiscope.steer.spending.record import recording
    from lexiscope.steer.spending.rules import parse

    rule = parse(spend)
    if record is None:
        with frugal(model, sae, rule):
            yield
        return
    with recording(record, model, sae, rule) as book, frugal(model, sae, rule, book):
        yield


def _edit(kind: str, text: str, where: Mapping[str, Any]) -> AnyIntervention:
    """An intervention from what stands behind its option.

    Raises:
        InputError: it is none.
    """
    from lexiscope.core.config import quoted
    from lexiscope.core.errors import InputError
    from lexiscope.steer.interventions import read_intervention

    key, example = FORMS[kind]
    named, equals, value = text.partition("=")
    features = [feature.strip() for feature in named.split(",")]
    whole = kind == "patch" and features == ["all"]
    numbers = all(feature.isascii() and feature.isdecimal() and len(feature) < 12 for feature in features)
    if not (whole or numbers) or bool(equals) < (kind != "ablate"):
        raise InputError(f"--{kind} {quoted(text)} is not a feature and its value; write --{kind} {example}")
    values: dict[str, Any] = {"do": kind, **where}
    if not whole:
        values["features"] = [int(feature) for feature in features]
    if equals:
        values[key] = value
    if kind == "patch":
        values["from_position"] = -1
    return read_intervention(values, f"--{kind} {quoted(text)}")


def _positions(text: str) -> Any:
    """A slice as it is, or a list of numbers."""
    from lexiscope.core.config import quoted
    from lexiscope.core.errors import InputError

    if ":" in text:
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--positions {quoted(text)} is neither a slice such as -4: nor a list such as 0,3,-1"
        ) from None


def _show(texts: Iterable[Mapping[str, str]]) -> None:
    """Side by side, so that the first word that differs is seen."""
    from rich.table import Table
    from rich.text import Text

    from lexiscope.cli.console import output

    table = Table("default", "steered", show_lines=True, expand=True)
    for text in texts:
        table.add_row(Text(_plain(text["default"])), Text(_plain(text["steered"])))
    output.print(table)


def _show_live(told: Iterable[LiveToken], *, json: bool) -> None:
    """A line for each token, as soon as it is there; JSON Lines for machines."""
    import sys

    from lexiscope.cli.console import output
    from lexiscope.core.errors import one_line

    for token in told:
        if json:
            sys.stdout.write(token.model_dump_json() + "\n")
            sys.stdout.flush()
            continue
        strength = [
            f"{firing.feature} {one_line(firing.label or '', 40)} "
            f"{firing.activation if firing.relative is None else firing.relative:.2f}".replace("  ", " ")
            for firing in token.firings[:3]
        ]
        sign = "+" if token.generated else " "
        output.print(f"{sign} {token.piece!r:<20} {'  |  '.join(strength)}", markup=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Text of a model without anything that a terminal would obey."""
    from lexiscope.core.errors import one_line

    return "\n".join(one_line(line, max(len(line), 1)) for line in text.replace("\t", "    ").split("\n"))
