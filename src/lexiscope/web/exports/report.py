"""The report: one HTML file to read, print and pass on. It loads nothing and runs nothing."""

from __future__ import annotations

from pathlib import Path

from lexiscope.core.disk import disk_trouble, write_text
from lexiscope.index.feature import Example, Feature, Overview
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.web.drawing.rendering import STATIC, render
from lexiscope.web.folder.library import Library, open_run
from lexiscope.web.folder.scores import MatchedConcept, ScoreTable, score_table
from lexiscope.web.pages.common import DictionaryFacts, facts
from lexiscope.web.view import View

NUM_FEATURES = 24
_MIN_FIRINGS = 30
_MAX_DENSITY = 0.02
_STRONGEST, _ACROSS = 5, 4


class ReportedFeature(View):
    feature: Feature
    concepts: list[MatchedConcept]
    examples: list[Example]
    """The strongest, then one from each of a few intervals below."""


class ReportView(View):
    dictionary: DictionaryFacts
    overview: Overview
    scores: ScoreTable | None
    features: list[ReportedFeature]


def write_report(run: Path | str) -> Path:
    """Write ``report.html`` into a run folder: scorecard, densities and a selection of features.

    Raises:
        InputError: the folder holds no index, or can't be written.
    """
    run = Path(run)
    found = open_run(run)
    chosen = select(found.index, found.concepts, found.scorecard.concepts.f1_bar if found.scorecard else 1.0)
    view = ReportView(
        dictionary=facts(found, Library(run)),
        overview=found.index.overview(),
        scores=score_table(found.scorecard) if found.scorecard else None,
        features=[_reported(found.index.feature(number), found.concepts.get(number, [])) for number in chosen],
    )
    page = render("report.html", view=view, style=(STATIC / "style.css").read_text(encoding="utf-8"))
    out = run / "report.html"
    with disk_trouble(out):
        write_text(out, page)
    return out


def select(
    index: FeatureIndex, concepts: dict[int, list[MatchedConcept]], f1_bar: float, count: int = NUM_FEATURES
) -> list[int]:
    """Features worth a first look, by a rule and not by hand.

    Half are those that tell a concept of the bank with F1 at or above the bar, clearest first. The others are drawn
    evenly over variety, from features of one token to features of many: in each stretch the one with the largest
    activation. Features that fire on more than 2 % of tokens, or fewer than 30 times, are passed over.
    """
    clearest = sorted(concepts, key=lambda feature: -concepts[feature][0].f1)
    chosen = [feature for feature in clearest if concepts[feature][0].f1 >= f1_bar][: count // 2]
    by_variety = sorted(index.summaries(index.live()).values(), key=lambda feature: (feature.variety, feature.feature))
    worthy = [
        feature
        for feature in by_variety
        if feature.firings >= _MIN_FIRINGS and feature.density <= _MAX_DENSITY and feature.feature not in chosen
    ]
    wanted = count - len(chosen)
    for place in range(wanted):
        stretch = worthy[place * len(worthy) // wanted : (place + 1) * len(worthy) // wanted]
        if stretch:
            chosen.append(max(stretch, key=lambda feature: feature.max_activation).feature)
    return chosen


def _reported(feature: Feature, concepts: list[MatchedConcept]) -> ReportedFeature:
    below = [band.examples[0] for band in feature.bands if band.examples]
    step = max(1, len(below) // _ACROSS)
    return ReportedFeature(
        feature=feature,
        concepts=concepts,
        examples=[*feature.strongest[:_STRONGEST], *below[::step][:_ACROSS]],
    )
