"""lexiscope effects suppress: prompts that bring an unwanted answer → features to turn, and what is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexiscope.cli.effects import asked
from lexiscope.cli.options import Device, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lexiscope.cli.effects.asked import Opened
    from lexiscope.measure.worlds.planted.behaviour import Behaviour
    from lexiscope.steer.experiments.excerpts import Source
    from lexiscope.steer.suppressing.cases import Cases
    from lexiscope.steer.suppressing.remedy import Remedy, Result

SEARCHED, JUDGED, TRAINED = (32, 4), (8, 16), (30, 16)
"""Batches of ordinary text and contexts in each: to search by, to judge by, and for fine-tuning."""
SCREENED = 12
"""Batches of those that directions are tried on: there are many."""
SHOWN = 12
"""Features."""
SHORT = {"difference in means": "means", "fine-tuning": "tuned"}
"""Methods as headings."""


def suppress(
    sae: asked.Run,
    prompts: Annotated[
        Path,
        typer.Argument(help="What `lexiscope plant` made, or JSON Lines: text, without, honest, planted[, slot]."),
    ],
    limit: Annotated[float, typer.Option(help="Rise of the loss on ordinary text that is allowed.")] = 0.01,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Beside it: difference in means and fine-tuning; some minutes.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Keep the change as an edit in this folder.")] = None,
    purpose: Annotated[str, typer.Option(help="What the edit that is saved is for.")] = "",
    corpus: Annotated[
        str | None,
        typer.Option(help="Ordinary text; default: demo for a planted pair, else that of the activation store."),
    ] = None,
    seed: asked.Seed = 0,
    index: asked.Index = None,
    model: asked.Model = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Take a behaviour away by turning features; judged on other prompts, and on ordinary text that it is not about."""
    from lexiscope.cli.console import ConsoleProgress, output, say, show_json
    from lexiscope.cli.inputs import model_of
    from lexiscope.core.errors import InputError
    from lexiscope.steer.edit import Report, save_edit
    from lexiscope.steer.suppressing.cases import ordinary
    from lexiscope.steer.suppressing.remedy import others
    from lexiscope.steer.suppressing.remedy import suppress as find_and_judge
    from lexiscope.web.notebook import whoever_runs_this

    asked.check_limit(limit, "the loss")
    if save is not None and save.exists():
        raise InputError(f"{save} is there already and nothing is written over; choose another --save")
    found = asked.opened(sae, index, model, device)
    cases, source = _cases(found, prompts, corpus, seed)
    progress = ConsoleProgress()
    searched = ordinary(found.model, source, "train", *SEARCHED, seed=seed)
    judged = ordinary(found.model, source, "heldout", *JUDGED, seed=seed)
    result = find_and_judge(found.model, found.sae, cases, searched, judged, limit=limit, seed=seed, progress=progress)
    rest: list[Remedy] = []
    if baselines:
        artifact = found.artifact
        rest = others(
            result,
            found.model,
            lambda: model_of(artifact, model, device),
            cases,
            searched[:SCREENED],
            ordinary(found.model, source, "train", *TRAINED, seed=seed),
            limit=limit,
            progress=progress,
        )
    measured = result.measured(rest) | {"prompts": str(prompts), "corpus": source.corpus, "seed": seed}
    if json:
        show_json(measured)
    else:
        output.print(shown(result, rest), markup=False, soft_wrap=True)
    if save is not None:
        report = Report(purpose=purpose, author=whoever_runs_this(), measured=measured)
        save_edit(save, result.found.recipe, found.model, found.sae, units=found.index, report=report)
        say(f"kept in {save}; lexiscope steer {save} --prompt ... applies it")


def _cases(found: Opened, prompts: Path, corpus: str | None, seed: int) -> tuple[Cases, Source]:
    """Prompts on two sides, and ordinary text."""
    from lexiscope.core.manifest import MANIFEST
    from lexiscope.measure.worlds.planted.pair import PlantedPair
    from lexiscope.steer.experiments.excerpts import Source
    from lexiscope.steer.suppressing.cases import of_pair, read_cases

    named = None if corpus is None else Source(corpus)
    if (prompts / MANIFEST).exists():
        return of_pair(PlantedPair(prompts)), named or Source()
    return read_cases(asked.texts_of(prompts), str(prompts), seed), named or Source.of(found.artifact)


def shown(result: Result, rest: Sequence[Remedy]) -> str:
    """What is turned, and what is left of the behaviour, beside what other ways leave."""
    from lexiscope.cli.effects.tables import table

    found = result.found
    turned = [["feature", "times", "tells the prompts"]]
    turned += [[str(one.feature), f"{one.by:g}", f"{one.contrast:.1f} s.e."] for one in found.turned[:SHOWN]]
    more = len(found.turned) - SHOWN
    searched = (
        f"{len(found.turned)} features are turned{f', {more} of them not shown' if more > 0 else ''}. On the prompts "
        f"that were looked at,\n{found.suppressed:.1%} of the unwanted answers are gone; {found.harmed:.1%} of those "
        "without what brings it are answered in another way."
    )
    ways = {"nothing": result.before, "features": result.after}
    ways |= {f"{SHORT[one.method.split(' at ')[0]]} {one.allowed:.2%}": one for one in rest}
    left = [["", *ways], ["loss on ordinary text", *(_damage(one) for one in ways.values())]]
    left += [[group, *(_left(one.answers[group]) for one in ways.values())] for group in result.before.answers]
    notes = [f"{name}: {one.method}, {one.strength:g}" for name, one in ways.items() if one in rest]
    if notes:
        notes.insert(0, "\nAt the strength that leaves least for no more damage than that")
    return "\n".join(
        [
            table(turned),
            f"\n{searched}",
            "\nUnwanted answers on prompts that were not looked at, with 95 % intervals",
            table(left, words=[0]),
            *notes,
        ]
    )


def _damage(one: Remedy) -> str:
    from lexiscope.cli.effects.tables import number

    low, high = (number(100 * end, ".2f") for end in (one.damage.low, one.damage.high))
    return f"{number(one.damage.rise, '+.2%')} [{low}, {high}]"


def _left(answers: Behaviour) -> str:
    share = answers.planted
    return f"{share.share:.0%} [{100 * share.low:.0f}, {100 * share.high:.0f}]"
