"""What features are called where there is little room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lexiscope.index.feature_index import FeatureIndex


def names_of(index: FeatureIndex) -> Callable[[Sequence[int]], Mapping[int, str]]:
    """The label that was chosen for each feature, or the tokens that it fires on most often."""
    from lexiscope.index.notes import Notes

    notes = Notes.open(index.artifact.path, readonly=True)

    def names(features: Sequence[int]) -> dict[int, str]:
        labels = {feature: label.text for feature, label in notes.labels.chosen(features).items()}
        summaries = index.summaries([feature for feature in features if feature not in labels])
        return labels | {feature: " ".join(map(repr, row.tokens[:3])) for feature, row in summaries.items()}

    return names
