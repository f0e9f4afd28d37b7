"""What `steered_concepts.py` found: one concept, its line of the table, and the summary of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from steered_text import Target

from lexiscope.index.live.changes import bootstrap
from lexiscope.steer.effects.controls import Control
from lexiscope.steer.effects.doses import Dose, Untouched
from lexiscope.steer.effects.intervals import Share, wilson
from lexiscope.steer.effects.selection import Selection
from lexiscope.steer.effects.trial import Point

OVERDOSES = (2.0, 4.0)
"""Multiples of the recommended dose at which the text that is written is looked at, too."""
CONTROLS: dict[str, Control] = {
    "noise": "noise",
    "random": "random feature",
    "wrong": "wrong sign",
    "prompt": "prompt only",
    "means": "difference in means",
    "best m": "difference in means at its best",
}
"""By the heading of the column."""


class Overdose(NamedTuple):
    """What is written at a multiple of the recommended dose, and what that costs off-target."""

    times: float
    written: float
    perplexity: float
    cost: float


class Row(NamedTuple):
    """A concept and what steering did on held-out prompts."""

    target: Target
    selection: Selection
    judged: Dose | None
    before: Untouched
    detector: int | None
    by_detector: Point | None
    """The best detector of the concept, at the strength recommended for it."""
    verdict: str
    mass: tuple[float, float]
    """Probability of the concept's tokens before and after, over all tokens of the prompts."""
    overdoses: list[Overdose]

    def moved(self) -> Share:
        return self._share(self.judged)

    def moved_by_detector(self) -> Share:
        return self._share(self.by_detector)

    def control(self, name: Control) -> Share | None:
        return (
            next((each.moved for each in self.judged.controls if each.control == name), None) if self.judged else None
        )

    def beats(self, name: Control) -> bool:
        """Whether the effect is surely larger than that of a control."""
        beside = [each for each in self.judged.controls if each.control == name] if self.judged else []
        return bool(beside) and (beside[0].advantage.low or 0) > 0

    def written(self) -> tuple[float, float] | None:
        """Share of the tokens written that have the concept, before and after."""
        if not self.judged or not self.judged.fluency.met or not self.before.fluency.met:
            return None
        return self.before.fluency.met.mean, self.judged.fluency.met.mean

    def _share(self, point: Point | None) -> Share:
        return point.moved if point else wilson(0, self.before.goal.examples)


def heading() -> str:
    rivals = "".join(f"{name:>7}" for name in (*CONTROLS, "by act"))
    figures = f"{'effect':>6} {'cost':>6}  {'mass':<15} {'written':<15} perplexity of it"
    return f"{'concept':<34} {'feat.':>5} {'dose':>5} moved{'':>13}{rivals} {figures}"


def line(row: Row) -> str:
    moved = row.moved()
    start = f"{row.target.concept.name:<34} {row.selection.chosen:>5}"
    share = f"{moved.share:.2f} [{moved.low:.2f}, {moved.high:.2f}]"
    if row.judged is None:
        return f"{start} {'-':>5} {share}  {row.verdict}"
    rivals = [*(row.control(name) for name in CONTROLS.values()), row.by_detector and row.by_detector.moved]
    figures = "".join(f"{'-' if each is None else format(each.share, '.2f'):>7}" for each in rivals)
    written = "{:.3f} -> {:.3f}".format(*(row.written() or (0.0, 0.0)))
    perplexity = f"{row.before.fluency.perplexity or 0:.1f} -> {row.judged.fluency.perplexity or 0:.1f}"
    effect = f"{row.judged.effect.mean:>6.2f} {row.judged.perplexity.rise:>6.1%}"
    mass = "{:.3f} -> {:.3f}".format(*row.mass)
    return f"{start} {row.judged.strength:>5.2f} {share}{figures} {effect}  {mass:<15} {written:<15} {perplexity}"


def summarise(rows: Sequence[Row], limit: float) -> dict[str, Any]:
    def pooled(shares: Sequence[Share | None]) -> dict[str, Any] | None:
        known = [each for each in shares if each is not None]
        return wilson(sum(each.count for each in known), sum(each.of for each in known)).model_dump() if known else None

    judged = [row.judged for row in rows if row.judged]
    written = [both for row in rows if (both := row.written())]
    accuracy = {
        probe.task: [probe.accuracy.share, float(np.mean([dose.probes[place].accuracy.share for dose in judged]))]
        for place, probe in enumerate(rows[0].before.probes)
    }
    gained = bootstrap([after - before for before, after in written], 0)
    return {
        "concepts": len(rows),
        "with a dose within the limit": len(judged),
        "moved": pooled([row.moved() for row in rows]),
        "moved by the best detector": pooled([row.moved_by_detector() for row in rows]),
        "moved by controls": {name: pooled([row.control(name) for row in rows]) for name in CONTROLS.values()},
        "concepts with 80 % moved within the limit": sum(
            row.moved().share >= 0.8 and row.judged is not None and row.judged.perplexity.rise <= limit for row in rows
        ),
        "concepts within the limit": sum(dose.perplexity.rise <= limit for dose in judged),
        "concepts with a surely larger effect than": {
            name: sum(row.beats(name) for row in rows) for name in CONTROLS.values()
        },
        "rise of perplexity, median and most": [
            float(np.quantile([dose.perplexity.rise for dose in judged], at)) for at in (0.5, 1)
        ],
        "other features moved per token, median": float(
            np.median([dose.side_effects.features_moved.mean for dose in judged if dose.side_effects.features_moved])
        ),
        "mass before and after": np.mean([row.mass for row in rows], 0).tolist(),
        "written before and after": np.mean(written, 0).tolist(),
        "at multiples of the dose: written, perplexity of it, cost off-target; medians but for the first": {
            times: [
                float(np.mean([each.written for each in taken])),
                *(float(np.median([each[part] for each in taken])) for part in (2, 3)),
            ]
            for place, times in enumerate(OVERDOSES)
            if (taken := [row.overdoses[place] for row in rows if row.overdoses])
        },
        "perplexity of what is written before and after, medians": [
            float(np.median([fluency.perplexity or 0 for fluency in of]))
            for of in ([row.before.fluency for row in rows], [dose.fluency for dose in judged])
        ],
        "gained in writing, over concepts": gained.model_dump() if gained else None,
        "accuracy before and after": accuracy,
        "signs predicted": {
            score: {
                part: pooled([getattr(row.selection.signs[score], part) for row in rows])
                for part in ("shortlisted", "random")
            }
            for score in rows[0].selection.signs
        },
    }


def details(row: Row) -> dict[str, Any]:
    return {
        "concept": row.target.concept.name,
        "tokens": len(row.target.lexicon.goal.weights),
        "coverage": row.target.lexicon.coverage,
        "positives": row.target.positives,
        "selection": row.selection.model_dump(),
        "judged": row.judged and row.judged.model_dump(),
        "untouched": row.before.model_dump(),
        "mass": row.mass,
        "overdoses": [each._asdict() for each in row.overdoses],
        "detector": row.detector,
        "by_detector": row.by_detector and row.by_detector.model_dump(),
        "verdict": row.verdict,
    }
