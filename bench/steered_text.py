"""Labelled text for `steered_concepts.py`, and the concepts in it that can be steered to by their tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.seeds import derive_seed
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts import BANK, Concept
from lexiscope.measure.concepts.labels import label
from lexiscope.measure.heldout import Excerpts
from lexiscope.steer.effects.goals import Lexicon, lexical
from lexiscope.text.corpus import Corpus, Split
from lexiscope.text.document import Document

LEAST_POSITIVES = 50
LEAST_COVERAGE = 0.5
"""Share of a concept's positive tokens that its set of tokens must hold, for the set to stand for the concept."""
CHARACTERS = 3000
"""That are read of a document, so that a given number of tokens is of many documents."""


class Labelled(NamedTuple):
    """A document, its tokens, and which have which concept."""

    document: Document
    ids: list[int]
    positive_CT: NDArray[np.bool_]
    judged_CT: NDArray[np.bool_]


def read(model: LanguageModel, corpus: str, split: Split, tokens: int) -> list[Labelled]:
    """The beginnings of documents until there are so many tokens."""
    found: list[Labelled] = []
    for document in Excerpts(Corpus(corpus, seed=1, split=split)).documents(CHARACTERS):
        encoded = model.tokenizer.encode(document.text)
        if len(encoded.ids) > 1:
            labels = label(document, np.array(encoded.starts), np.array(encoded.ends), BANK)
            found.append(Labelled(document, encoded.ids, *labels))
            tokens -= len(encoded.ids)
        if tokens <= 0:
            break
    return found


def windows(
    text: Sequence[Labelled], rows: int, length: int, kinds: frozenset[str] | None, *seed: object
) -> tuple[list[list[int]], list[str]]:
    """One stretch from each of so many documents, and their names."""
    rng = random.Random(derive_seed(0, *seed))
    fit = [each for each in text if len(each.ids) >= length and (not kinds or each.document.kind in kinds)]
    chosen = rng.sample(fit, min(rows, len(fit)))
    starts = [rng.randrange(len(each.ids) - length + 1) for each in chosen]
    texts = [each.ids[start : start + length] for each, start in zip(chosen, starts, strict=True)]
    return texts, [each.document.id for each in chosen]


class Target(NamedTuple):
    """A concept that can be steered to by its tokens."""

    row: int
    concept: Concept
    lexicon: Lexicon
    positives: int


def targets(selection: Sequence[Labelled], heldout: Sequence[Labelled]) -> list[Target]:
    """By how many positives they have in the selection text, most first."""
    tokens_T = torch.tensor([token for each in selection for token in each.ids])
    positive_CT, judged_CT = (np.concatenate([each[part] for each in selection], 1) for part in (2, 3))
    heldout_C = sum(each.positive_CT.sum(1) for each in heldout)
    found = []
    for row, concept in enumerate(BANK):
        positives = int(positive_CT[row].sum())
        if min(positives, heldout_C[row]) >= LEAST_POSITIVES:
            lexicon = lexical(concept.name, tokens_T, positive_CT[row], judged_CT[row])
            if lexicon and lexicon.coverage >= LEAST_COVERAGE:
                found.append(Target(row, concept, lexicon, positives))
    return sorted(found, key=lambda target: -target.positives)
