"""lexiscope effects dose: a goal and a feature → how much of it does how much, beside everything that it must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexiscope.cli.effects import asked
from lexiscope.cli.options import Device, Json

if TYPE_CHECKING:
    from lexiscope.steer.effects.controls import Control
    from lexiscope.steer.effects.doses import Dose, DoseResponse

SHORT: dict[Control, str] = {
    "noise": "noise",
    "random feature": "other feature",
    "wrong sign": "wrong sign",
    "prompt only": "prompt only",
    "difference in means": "diff. in means",
    "difference in means at its best": "at its best",
}
"""Controls as headings."""


def dose(
    sae: asked.Run,
    feature: Annotated[int | None, typer.Argument(help="Its number; default: the feature that is selected.")] = None,
    tokens: asked.Tokens = None,
    concept: asked.Concept = None,
    wanted: asked.Wanted = None,
    unwanted: asked.Unwanted = None,
    strengths: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Multiples of the feature's maximum, as in -0.5,0.25,1; default: chosen."),
    ] = None,
    limit: asked.Limit = 0.05,
    recipe: Annotated[
        Path | None, typer.Option(help="File to make: the recommended dose, for lexiscope steer --recipe.")
    ] = None,
    no_keep: asked.NoKeep = False,
    prompts: asked.Prompts = 48,
    corpus: asked.Corpus = None,
    seed: asked.Seed = 0,
    index: asked.Index = None,
    model: asked.Model = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Sweep a feature's strength: what it does for a goal and what it costs, on text that it was not chosen on."""
    from lexiscope.cli.console import output, say, show_json
    from lexiscope.cli.effects.keeping import keep
    from lexiscope.cli.files import check_new, new_file
    from lexiscope.steer.experiments.findings import keep_dose_response
    from lexiscope.steer.recipe import Recipe

    asked.check_limit(limit)
    multiples = _strengths(strengths)
    found = asked.opened(sae, index, model, device)
    goal = asked.goal_of(found.model, tokens, concept, wanted, unwanted)
    asked.check_feature(found, feature)
    if recipe is not None:
        check_new(recipe, "--recipe")
    experiment = asked.experiment_on(found, corpus, seed=seed, prompts=prompts)
    aim = goal(experiment)
    if feature is None:
        feature = experiment.select(aim, limit=limit).best()
    response = experiment.dose_response(aim, feature, multiples, limit=limit)
    settings: dict[str, Any] = {
        "goal": response.goal,
        "corpus": experiment.source.corpus,
        "strengths": [each.strength for each in response.curve],
        "limit": limit,
        "prompts": prompts,
        "seed": seed,
    }
    if json:
        show_json(response.model_dump(mode="json") | {"asked": settings})
    else:
        output.print(shown(response, aim.goal.unit), markup=False, soft_wrap=True)
    if not no_keep:
        keep(found, lambda notes, about, by: keep_dose_response(notes, about, response, settings, by))
    if recipe is not None:
        with new_file(recipe, "--recipe") as file:
            file.write(Recipe((response.intervention(),)).toml())
        say(f"lexiscope steer {sae} --recipe {recipe} --prompt ... steers with it")


def shown(response: DoseResponse, unit: str) -> str:
    """The curve, what else changes, the controls, and what to think of it."""
    from lexiscope.cli.effects.tables import mean, rise, share, table

    every = _every(response)
    marks = {each.strength: "*" if each.strength == response.recommended else "" for each in every}

    def named(each: Dose) -> str:
        return f"{each.strength:.3g}{marks[each.strength]}"

    before = response.untouched
    effects = table(
        [
            ["dose", "effect", "prompts moved", "perplexity off-target", "KL", "features moved"],
            *(
                [
                    named(each),
                    mean(each.effect),
                    share(each.moved),
                    rise(each.perplexity),
                    f"{each.side_effects.kl.mean:.3f}",
                    "-" if each.side_effects.features_moved is None else f"{each.side_effects.features_moved.mean:.1f}",
                ]
                for each in every
            ),
        ]
    )
    written = [("none", before.fluency, before.probes), *((named(each), each.fluency, each.probes) for each in every)]
    tasks = [probe.task for probe in before.probes]
    met = [] if before.fluency.met is None else ["has the goal"]
    texts = table(
        [
            ["dose", "perplexity", "distinct pairs", *met, *tasks],
            *(
                [
                    name,
                    "-" if fluency.perplexity is None else f"{fluency.perplexity:.1f}",
                    f"{fluency.distinct[1]:.0%}",
                    *([] if fluency.met is None else [f"{fluency.met.mean:.1%}"]),
                    *(f"{probe.accuracy.share:.0%}" for probe in probes),
                ]
                for name, fluency, probes in written
            ),
        ]
    )
    parts = [
        f"Feature {response.feature} for {response.goal}; 1 is its maximum, {response.unit:.3g}; * is recommended",
        f"On held-out text, effect in {unit}; 95 % intervals\n{effects}",
        f"What is written at each dose, and tasks with right answers\n{texts}",
    ]
    if every[0].controls:
        parts.append(f"Effect of each control at the same length, and prompts moved\n{_controls(every, named)}")
    if response.judged is not None and response.judged.controls:
        parts.append(f"Each control beside the recommended dose\n{_beside(response.judged)}")
    if every[0].controls and not any(each.control == "difference in means" for each in every[0].controls):
        parts.append("No difference in means is compared: what is wanted does not occur in the text that was read.")
    parts.append(response.verdict)
    return "\n\n".join(parts)


def _controls(every: Sequence[Dose], named: Callable[[Dose], str]) -> str:
    from lexiscope.cli.effects.tables import number, table

    names = list(dict.fromkeys(control.control for each in every for control in each.controls))
    rows = [["dose", *(SHORT[name] for name in names)]]
    for each in every:
        by_name = {control.control: control for control in each.controls}
        rows.append(
            [
                named(each),
                *(
                    f"{number(by_name[name].effect.mean)} {by_name[name].moved.share:4.0%}" if name in by_name else "-"
                    for name in names
                ),
            ]
        )
    return table(rows)


def _beside(judged: Dose) -> str:
    from lexiscope.cli.effects.tables import mean, rise, share, table

    rows = [["", "effect", "prompts moved", "perplexity off-target", "feature's effect beyond it"]]
    rows.append(["the feature", mean(judged.effect), share(judged.moved), rise(judged.perplexity), ""])
    rows += [
        [each.control, mean(each.effect), share(each.moved), rise(each.perplexity), mean(each.advantage)]
        for each in judged.controls
    ]
    return table(rows, words=[0])


def _every(response: DoseResponse) -> list[Dose]:
    """The doses asked for, and the recommended one among them."""
    judged = [] if response.judged is None or response.judged in response.curve else [response.judged]
    return sorted([*response.curve, *judged], key=lambda each: each.strength)


def _strengths(given: str | None) -> list[float]:
    from lexiscope.core.config import quoted
    from lexiscope.core.errors import InputError

    try:
        return [] if given is None else [float(part) for part in given.split(",")]
    except ValueError:
        raise InputError(
            f"--strengths {quoted(given)} is no list of numbers; give multiples of the maximum such as -0.5,0.25,1"
        ) from None
