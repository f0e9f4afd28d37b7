"""lexiscope effects select: a goal → features, by what they will do to the output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lexiscope.cli.effects import asked
from lexiscope.cli.options import Device, Json

if TYPE_CHECKING:
    from lexiscope.steer.effects.selection import Candidate, Selection

WIDTH, LEAST_NAME, MOST_NAME = 70, 10, 40
"""Characters of a line without what the feature is called, and for that."""


def select(
    sae: asked.Run,
    tokens: asked.Tokens = None,
    concept: asked.Concept = None,
    wanted: asked.Wanted = None,
    unwanted: asked.Unwanted = None,
    shortlist: asked.Shortlist = 8,
    random: asked.Random = 8,
    limit: asked.Limit = 0.05,
    corpus: asked.Corpus = None,
    seed: asked.Seed = 0,
    index: asked.Index = None,
    model: asked.Model = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Rank features for a goal: what they should do to the output, what a small dose of them does, what it costs."""
    from lexiscope.cli.console import output, show_json
    from lexiscope.cli.names import names_of

    asked.check_limit(limit)
    found = asked.opened(sae, index, model, device)
    goal = asked.goal_of(found.model, tokens, concept, wanted, unwanted)
    experiment = asked.experiment_on(found, corpus, seed=seed)
    aim = goal(experiment)
    selection = experiment.select(aim, shortlist=shortlist, random=random, limit=limit)
    features = [candidate.feature for candidate in selection.candidates]
    names = {} if found.index is None else names_of(found.index)(features)
    if json:
        said = [{"name": names.get(one.feature), **one.model_dump(mode="json")} for one in selection.candidates]
        show_json(selection.model_dump(mode="json") | {"chosen": selection.chosen, "candidates": said, "seed": seed})
        return
    output.print(shown(selection, names, aim.goal.unit), markup=False, soft_wrap=True)


def shown(selection: Selection, names: Mapping[int, str], unit: str) -> str:
    """The features that were tried, and whether what was predicted of them came."""
    from lexiscope.cli.effects.tables import share, table

    header = ["feature", "direct", "attrib.", "observed", "moved", "costs", "value", "fires on, or label"]
    parts = []
    for shortlisted in (True, False):
        rows = [_row(one, selection.norm, names) for one in selection.candidates if one.shortlisted == shortlisted]
        if rows:
            title = f"Shortlist for {selection.goal}" if shortlisted else "Drawn at random, for the sign test"
            parts.append(f"{title}\n{table([header, *rows], words=[7])}")
    signs = [["sign of the effect predicted by", "shortlist", "at random"]]
    signs += [[name, share(test.shortlisted), share(test.random)] for name, test in selection.signs.items()]
    parts.append(table(signs, words=[0]))
    parts.append(
        f"observed: what a vector of length {selection.norm:.3g} did to the goal, {unit}, 95 % interval over prompts.\n"
        "attrib.: what the gradient predicts of it; direct: what the unembedding alone does, before the last\n"
        "normalisation, so that only sign and order count. moved: prompts on which the goal rose; costs: rise of\n"
        "perplexity off-target; value: effect expected where that reaches the limit."
    )
    works = selection.candidates[0].value > 0
    parts.append(
        f"Feature {selection.chosen} is the one to steer with."
        if works
        else f"None of them raises {selection.goal}; try more with --shortlist, or another goal."
    )
    return "\n\n".join(parts)


def _row(one: Candidate, norm: float, names: Mapping[int, str]) -> list[str]:
    from lexiscope.cli.console import output
    from lexiscope.cli.effects.tables import mean, number
    from lexiscope.core.errors import one_line

    room = max(LEAST_NAME, min(MOST_NAME, output.width - WIDTH)) if output.is_terminal else MOST_NAME
    return [
        str(one.feature),
        "-" if one.direct is None else number(norm * one.direct),
        number(norm * one.attribution),
        mean(one.observed),
        f"{one.moved.share:.0%}",
        "-" if one.loss_rise is None else number(math.expm1(one.loss_rise), "+.1%"),
        number(one.value, ".2f"),
        one_line(names.get(one.feature, "-"), room),
    ]
