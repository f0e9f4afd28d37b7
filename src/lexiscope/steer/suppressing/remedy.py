"""Remedies: features turned so that a behaviour goes away, beside other ways to that, all judged alike.

What is found is found on some cases and some ordinary text, and judged on other cases and other documents: how often
the unwanted answer comes, before and after, and the rise of the loss on ordinary text. The other ways are a direction
that is taken out (difference in means) and fine-tuning, each at the strength that leaves least of the behaviour for no
more damage: than is allowed, and than the features did. Directions are chosen on the prompts that may be seen;
fine-tuning, which tries few settings, on those that it is judged by.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.index.feature import Real, Record
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import Behaviour
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.editing import editing
from lexiscope.steer.effects.side_effects import Rise
from lexiscope.steer.suppressing.baselines import (
    Judge,
    Tokens,
    Trial,
    at_damage,
    by_finetuning,
    fit_direction,
    without_direction,
)
from lexiscope.steer.suppressing.cases import CONTEXT, Cases
from lexiscope.steer.suppressing.suppression import LIMIT, Found, find
from lexiscope.text.pack import TokenBatch

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 3.0)
"""Of a direction that is taken out."""
STEPS, RATES = (10, 30), (3e-4, 1e-3)
"""Of fine-tuning, and its learning rates."""
LEAST_DAMAGE = 0.0005
"""Allowed for comparison where the features did less: hardly anything does no damage at all."""


class Remedy(Record):
    """One way, judged."""

    method: str
    strength: Real
    allowed: Real
    """Damage, as a share of the loss."""
    answers: dict[str, Behaviour]
    """By group of prompts."""
    damage: Rise

    @classmethod
    def of(cls, trial: Trial, allowed: float) -> Remedy:
        damage = Rise(rise=trial.damage.value, low=trial.damage.low, high=trial.damage.high)
        return cls(
            method=trial.method,
            strength=trial.strength,
            allowed=allowed,
            answers=dict(trial.behaviour),
            damage=damage,
        )


class Result(NamedTuple):
    """Features that were found, and how they do."""

    found: Found
    judge: Judge
    before: Remedy
    """Nothing is changed."""
    after: Remedy

    def measured(self, others: Sequence[Remedy] = ()) -> dict[str, Any]:
        """All figures, for a report."""
        found = self.found
        return {
            "edits": [edit.model_dump(mode="json", exclude_defaults=True) for edit in found.recipe.edits],
            "found_on": {"suppressed": found.suppressed, "harmed": found.harmed, "rise": found.rise},
            "turned": [one.model_dump(mode="json") for one in found.turned],
            "before": self.before.model_dump(mode="json"),
            "after": self.after.model_dump(mode="json"),
            "others": [other.model_dump(mode="json") for other in others],
        }


def suppress(
    model: LanguageModel,
    sae: SparseAutoencoder,
    cases: Cases,
    beside: Sequence[TokenBatch],
    judged: Sequence[TokenBatch],
    *,
    limit: float = LIMIT,
    hooks: Sequence[HookPoint] = (),
    seed: int = 0,
    progress: Progress = SILENT,
) -> Result:
    """Find features to turn, and judge them.

    Args:
        beside: ordinary text to tell the damage by in the search, in small batches.
        judged: other ordinary text.

    Raises:
        InputError: the behaviour does not show, or no feature is worth anything of it.
    """
    with progress.task("Searching features", total=None, unit="features") as task:
        found = find(model, sae, cases.fit, beside, keep=cases.keep, limit=limit, hooks=hooks, seed=seed)
        task.advance(len(found.turned))
    with progress.task("Judging", total=2, unit="models") as task:
        judge = Judge(model, cases.judged, judged)
        before = judge.trial(model, "nothing", 0.0)
        task.advance(1)
        with editing(model, sae, found.recipe.edits, hooks=hooks, error=found.recipe.error):
            after = judge.trial(model, "features", 0.0)
        task.advance(1)
    return Result(found, judge, Remedy.of(before, limit), Remedy.of(after, limit))


def others(
    result: Result,
    model: LanguageModel,
    load: Callable[[], LanguageModel],
    cases: Cases,
    searched: Sequence[TokenBatch],
    beside: Sequence[TokenBatch],
    *,
    limit: float = LIMIT,
    progress: Progress = SILENT,
) -> list[Remedy]:
    """What is possible without a dictionary, at as much damage.

    Args:
        load: gives a copy of the model, to be fine-tuned.
        searched: ordinary text that the directions' damage is told by in the search.
        beside: ordinary text to train on.
    """
    allowed = sorted({limit, max(result.after.damage.rise, LEAST_DAMAGE)}, reverse=True)
    directed = _by_directions(result.judge, model, cases, searched, allowed, progress)
    tuned: list[Trial] = []
    context = min(CONTEXT, model.max_context)
    with progress.task("Fine-tuning", total=len(RATES) * len(STEPS), unit="models") as task:
        for lr, steps in itertools.product(RATES, STEPS):
            tuned += by_finetuning(result.judge, load, cases.fit, beside, [steps], lr=lr, context=context)
            task.advance(1)
    group = next(iter(cases.judged))
    return [
        Remedy.of(best, most)
        for most in allowed
        for best in (directed.get(most), at_damage(tuned, group, most))
        if best is not None
    ]


def _by_directions(
    judge: Judge,
    model: LanguageModel,
    cases: Cases,
    searched: Sequence[TokenBatch],
    allowed: Sequence[float],
    progress: Progress,
) -> dict[float, Trial]:
    """For each damage the direction and strength that leave least on the prompts that are looked at, judged."""
    places = [hook for hook in model.hook_points() if hook.site == "resid_post"]
    looked = Judge(model, {"fit": cases.fit}, searched)
    directions = {
        f"difference in means at {hook}, {tokens}": fit_direction(model, hook, cases.fit, tokens)
        for hook, tokens in itertools.product(places, get_args(Tokens))
    }
    screened: list[Trial] = []
    with progress.task("Trying directions", total=len(directions) * len(STRENGTHS), unit="directions") as task:
        for (name, direction), strength in itertools.product(directions.items(), STRENGTHS):
            with without_direction(model, direction, strength):
                screened.append(looked.trial(model, name, strength))
            task.advance(1)
    found: dict[float, Trial] = {}
    for most in allowed:
        if (best := at_damage(screened, "fit", most)) is not None:
            with without_direction(model, directions[best.method], best.strength):
                found[most] = judge.trial(model, best.method, best.strength)
    return found
