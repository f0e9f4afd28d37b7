"""Dose and response: how much of a feature does how much, what it costs, and whether anything else would have done it.

A dose is a multiple of a feature's largest activation, added along its direction at every token; negative ones take it
away. For every dose: the goal's change over prompts, side effects off-target, fluency, tasks with right answers, and
all controls at the same length of vector, other features one by one at the recommended dose. The recommended strength
has the largest effect among those whose rise of perplexity off-target is surely (upper end of its interval) within a
limit. It is chosen on selection text and judged on documents that had no part in it.

B prompts, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.effects.doses import Dose, DoseResponse, Untouched
from lexiscope.steer.effects.fluency import judge, write
from lexiscope.steer.effects.goals import Goal, Predicate
from lexiscope.steer.effects.intervals import share_of
from lexiscope.steer.effects.probes import Probe
from lexiscope.steer.effects.rank import further_than
from lexiscope.steer.effects.trial import (
    LIMIT,
    Material,
    Rivals,
    Trial,
    recommend,
    same_length,
)
from lexiscope.steer.effects.verdict import conclude

STRENGTHS = (-1.0, -0.5, -0.25, 0.125, 0.25, 0.5, 1.0, 2.0)


def judge_dose(
    trial: Trial,
    vector_D: Tensor,
    strength: float,
    rivals: Rivals,
    *,
    feature: int | None = None,
    best_difference_D: Tensor | None = None,
    predicate: Predicate | None = None,
    probes: Sequence[Probe] = (),
) -> Dose:
    """Everything about one dose on held-out text.

    Args:
        vector_D: strength 1.
        feature: its number in the dictionary, which is no side effect.
        best_difference_D: the difference in means at the dose that is best for it.
        predicate: judges what is written.
    """
    added_D = strength * vector_D
    change_B = trial.change(added_D)
    towards = 1.0 if strength > 0 else -1.0
    beside = [
        trial.control(name, vectors, change_B, towards)
        for name, vectors in same_length(rivals, added_D, trial.seed).items()
    ]
    if best_difference_D is not None:
        beside.append(trial.control("difference in means at its best", lambda _: best_difference_D, change_B, towards))
    if rivals.prefix:
        beside.append(trial.prompt_only(rivals.prefix, change_B, towards))
    side_effects = trial.off_target.effects(added_D, feature)
    written = write(trial.model, trial.hook, trial.prompts, added_D, seed=trial.seed)
    return Dose(
        strength=strength,
        norm=float(added_D.norm()),
        effect=trial.mean(change_B),
        moved=share_of((change_B * towards > 0).tolist()),
        perplexity=side_effects.perplexity,
        side_effects=side_effects,
        fluency=judge(trial.model, written, predicate, seed=trial.seed),
        probes=[probe.score(trial.model, trial.hook, added_D) for probe in probes],
        controls=beside,
    )


def untouched(trial: Trial, predicate: Predicate | None = None, probes: Sequence[Probe] = ()) -> Untouched:
    """The same without steering; what is written draws the same random numbers."""
    written = write(trial.model, trial.hook, trial.prompts, seed=trial.seed)
    return Untouched(
        goal=trial.mean(trial.clean_B),
        fluency=judge(trial.model, written, predicate, seed=trial.seed),
        probes=[probe.score(trial.model) for probe in probes],
    )


def dose_response(
    model: LanguageModel,
    hook: HookPoint,
    feature: int,
    direction_D: Tensor,
    goal: Goal,
    *,
    unit: float,
    selection: Material,
    heldout: Material,
    rivals: Rivals = Rivals(),  # noqa: B008 (a value)
    strengths: Sequence[float] = STRENGTHS,
    limit: float = LIMIT,
    predicate: Predicate | None = None,
    probes: Sequence[Probe] = (),
    seed: int = 0,
    progress: Progress = SILENT,
) -> DoseResponse:
    """Sweep a feature's strength, recommend one, judge it.

    Args:
        hook: where the dictionary writes.
        direction_D: what one unit of the feature adds there.
        unit: the feature's largest activation.
        strengths: multiples of it, on both sides of 0; at least one above.
        limit: rise of perplexity off-target that is allowed.

    Raises:
        InputError: a dead feature, impossible strengths, or selection and held-out prompts that share a document.
    """
    if not unit > 0:
        raise InputError(f"feature {feature} never fires, so a multiple of its maximum is no strength; take another")
    if wrong := [strength for strength in strengths if not math.isfinite(strength)]:
        raise InputError(f"strength {wrong[0]} is no number; give multiples of the feature's maximum such as 0.5")
    if not strengths or not max(strengths) > 0 or 0 in strengths:
        raise InputError("doses need a strength above 0, and 0 is none; give multiples of the maximum such as 0.5")
    if shared := set(selection.prompts.documents) & set(heldout.prompts.documents):
        raise InputError(
            f"{len(shared)} documents are in selection and held-out prompts ({min(shared)} is one), so the judgement "
            "would be of what was fitted; split by document"
        )
    vector_D = unit * direction_D.float()
    chosen, judged = (Trial(model, hook, goal, material, seed) for material in (selection, heldout))
    asked = sorted(set(strengths))
    best_difference_D = None
    with progress.task("Choosing a dose", total=None, unit="doses") as task:
        found = recommend(chosen, vector_D, asked, limit)
        task.advance(len(found.points))
        if rivals.difference_D is not None:
            difference_D = float(vector_D.norm()) * rivals.difference_D
            best = recommend(chosen, difference_D, [each for each in asked if each > 0], limit)
            best_difference_D = None if best.strength is None else best.strength * difference_D
            task.advance(len(best.points))

    def dose(strength: float) -> Dose:
        return judge_dose(
            judged,
            vector_D,
            strength,
            rivals,
            feature=feature,
            best_difference_D=best_difference_D,
            predicate=predicate,
            probes=probes,
        )

    doses: dict[float, Dose] = {}
    every = sorted({*asked} if found.strength is None else {*asked, found.strength})
    with progress.task("Judging doses", total=len(every), unit="doses") as task:
        for strength in every:
            doses[strength] = dose(strength)
            task.advance(1)
    final = None if found.strength is None else doses[found.strength]
    beaten = None
    if final is not None and (others_FD := rivals.other_directions_FD) is not None:
        beaten = further_than(judged, final.strength * vector_D, others_FD, seed, progress=progress)
    outcome, verdict = conclude(feature, goal.name, found, final, limit, beaten)
    return DoseResponse(
        feature=feature,
        goal=goal.name,
        unit=unit,
        limit=limit,
        untouched=untouched(judged, predicate, probes),
        chosen_on=found.points,
        recommended=found.strength,
        judged=final,
        curve=[doses[strength] for strength in asked],
        beaten=beaten,
        outcome=outcome,
        verdict=verdict,
    )
