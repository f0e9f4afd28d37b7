"""The concepts in some excerpts that can be steered to by their tokens, for `steered_concepts.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.measure.concepts import BANK, Concept
from lexiscope.measure.concepts.labels import label
from lexiscope.steer.effects.goals import Lexicon, lexical
from lexiscope.steer.experiments.excerpts import Excerpt

LEAST_POSITIVES = 50
LEAST_COVERAGE = 0.5
"""Share of a concept's positive tokens that its set of tokens must hold, for the set to stand for the concept."""


class Labels(NamedTuple):
    """Which tokens of an excerpt have which concept of the bank."""

    positive_CT: NDArray[np.bool_]
    judged_CT: NDArray[np.bool_]


def labels(excerpts: Sequence[Excerpt]) -> list[Labels]:
    return [Labels(*label(each.document, np.array(each.starts), np.array(each.ends), BANK)) for each in excerpts]


class Target(NamedTuple):
    """A concept that can be steered to by its tokens."""

    row: int
    concept: Concept
    lexicon: Lexicon
    positives: int


def targets(excerpts: Sequence[Excerpt], selection: Sequence[Labels], heldout: Sequence[Labels]) -> list[Target]:
    """By how many positives they have in the selection text, most first.

    Args:
        excerpts: the selection text.
    """
    tokens_T = torch.tensor([token for each in excerpts for token in each.ids])
    positive_CT, judged_CT = (np.concatenate([each[part] for each in selection], 1) for part in (0, 1))
    heldout_C = sum(each.positive_CT.sum(1) for each in heldout)
    found = []
    for row, concept in enumerate(BANK):
        positives = int(positive_CT[row].sum())
        if min(positives, heldout_C[row]) >= LEAST_POSITIVES:
            lexicon = lexical(concept.name, tokens_T, positive_CT[row], judged_CT[row])
            if lexicon and lexicon.coverage >= LEAST_COVERAGE:
                found.append(Target(row, concept, lexicon, positives))
    return sorted(found, key=lambda target: -target.positives)
