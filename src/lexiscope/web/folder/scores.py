"""Scores: a scorecard as the dictionary page shows it, and what it says about single features."""

from __future__ import annotations

from lexiscope.measure.metric import Better
from lexiscope.measure.scorecard import HEADLINES, SAE, Scorecard
from lexiscope.measure.scores import Score
from lexiscope.web.view import View


class ScoreRow(View):
    """One metric, for every dictionary in the order of the table's columns."""

    name: str
    unit: str
    better: Better
    headline: bool
    scores: list[Score | None]


class Fidelity(View):
    """What a dictionary leaves unexplained; said wherever its features are shown."""

    variance_unexplained: float | None
    """Share of the variance of the activations that is not in the reconstruction: FVU."""
    loss_unexplained: float | None
    """Share of the loss that mean-ablation costs and the reconstruction does not win back."""


class ScoreTable(Fidelity):
    """A scorecard: the SAE in the first column, trivial dictionaries on the same data in the others."""

    columns: list[str]
    rows: list[ScoreRow]
    tokens: int
    """Held-out activations that were measured."""
    f1_bar: float
    """F1 from which a concept counts as covered."""


class MatchedConcept(View):
    """A concept of the bank whose best latent is this feature."""

    name: str
    definition: str
    f1: float
    average_precision: float
    chance_f1: float
    """The same for the concept's labels moved to other tokens."""


def fidelity(scorecard: Scorecard) -> Fidelity:
    recovered = scorecard.value("loss_recovered_mean_ablation")
    return Fidelity(
        variance_unexplained=scorecard.value("fvu"), loss_unexplained=None if recovered is None else 1 - recovered
    )


def score_table(scorecard: Scorecard) -> ScoreTable:
    return ScoreTable(
        columns=scorecard.columns,
        rows=[
            ScoreRow(
                name=row.name,
                unit=row.unit,
                better=row.better,
                headline=row.name in {*HEADLINES, "concept_coverage"},
                scores=[row.scores.get(column) for column in scorecard.columns],
            )
            for row in scorecard.rows()
        ],
        tokens=scorecard.activations.tokens,
        f1_bar=scorecard.concepts.f1_bar,
        **fidelity(scorecard).model_dump(),
    )


def matched_concepts(scorecard: Scorecard) -> dict[int, list[MatchedConcept]]:
    """Feature → the concepts it tells best, clearest first. Those told no better than by chance are left out."""
    definitions = {concept.name: concept.definition for concept in scorecard.concepts.concepts}
    found: dict[int, list[MatchedConcept]] = {}
    coverage = scorecard.concepts.coverage.get(SAE)
    for best in coverage.latents if coverage else []:
        if best.latent is not None and best.f1 > 2 * best.chance_f1:
            concept = MatchedConcept(
                name=best.concept,
                definition=definitions.get(best.concept, ""),
                f1=best.f1,
                average_precision=best.average_precision,
                chance_f1=best.chance_f1,
            )
            found.setdefault(best.latent, []).append(concept)
    return {latent: sorted(concepts, key=lambda concept: -concept.f1) for latent, concepts in found.items()}
