"""Concept coverage: the share of concepts that have a latent of their own.

For each concept the best single latent and its threshold are chosen on one half of the documents by F1, and scored by
F1 and average precision on the other half. Coverage is the share of concepts with F1 ≥ 0.8.

Range: 0 to 1.
Better: higher.
Left out: concepts with fewer than 50 positive or 50 negative tokens in either half (the report states how many are
    left), and for each concept the tokens of documents of a kind that it is not judged in.
Baselines: mean-only undefined (nothing fires); random dictionary, untrained autoencoder, PCA and neurons go through the
    same search. The chance level is the same search again for labels shifted along the tokens, which keeps how
    frequent and how clustered they are.

T tokens, C concepts, F latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.measure.concepts.concept import Concept
from lexiscope.measure.concepts.report import BestLatent, ConceptCount, Coverage
from lexiscope.measure.concepts.search import Bools, Detector, Labels, find_each, score_each

F1_BAR = 0.8
MIN_POSITIVES = 50
ENTRIES_AT_ONCE = 2**21
"""About 150 MiB while they are sorted and searched."""
_REDRAWS = 2000


@dataclass(frozen=True)
class LabelledTokens:
    """Half of the text: which tokens have which concept, and which documents they are from."""

    positive_CT: NDArray[np.bool_]
    judged_CT: NDArray[np.bool_]
    """Tokens that count for a concept; every positive one is among them."""
    documents: frozenset[str]
    """Names, or hashes of the texts."""

    def of(self, row: int) -> Labels:
        """(positive, judged) of one concept."""
        return self.positive_CT[row], self.judged_CT[row]


def count_concepts(
    concepts: Sequence[Concept],
    chosen_on: LabelledTokens,
    scored_on: LabelledTokens,
    min_positives: int = MIN_POSITIVES,
) -> list[ConceptCount]:
    """How often each concept occurs in either half, and whether that is enough to judge it.

    Raises:
        InputError: the halves share a document.
    """
    if shared := chosen_on.documents & scored_on.documents:
        raise InputError(
            f"{len(shared)} documents are in both halves ({min(shared)} is one), so scores would be of what was "
            "fitted; split by document"
        )
    halves = (chosen_on, scored_on)
    counts = []
    for row, concept in enumerate(concepts):
        positives = [int(half.positive_CT[row].sum()) for half in halves]
        tokens = [int(half.judged_CT[row].sum()) for half in halves]
        rarer = [min(some, total - some) for some, total in zip(positives, tokens, strict=True)]
        counts.append(
            ConceptCount(
                name=concept.name,
                definition=concept.definition,
                kinds=sorted(concept.kinds),
                judged=min(rarer) >= min_positives,
                positives_chosen_on=positives[0],
                positives_scored_on=positives[1],
                tokens_chosen_on=tokens[0],
                tokens_scored_on=tokens[1],
            )
        )
    return counts


def cover(
    counts: Sequence[ConceptCount],
    chosen_on: LabelledTokens,
    scored_on: LabelledTokens,
    codes_chosen_on: Sequence[SparseCodes],
    codes_scored_on: Sequence[SparseCodes],
    *,
    f1_bar: float = F1_BAR,
    seed: int = 0,
    entries_at_once: int = ENTRIES_AT_ONCE,
) -> Coverage:
    """Concept coverage of one dictionary, from its codes of the tokens in both halves.

    Args:
        counts: from `count_concepts` on the same halves.
        codes_chosen_on: codes of the tokens of a half, in their order, in one or more parts.
        entries_at_once: about how many active (token, latent) pairs to sort at a time, which bounds the memory.

    Raises:
        InputError: no concept is frequent enough to be judged.
    """
    rows = [row for row, count in enumerate(counts) if count.judged]
    if not rows:
        raise InputError(
            "no concept is frequent enough in the held-out text to be judged; read more tokens or another corpus"
        )
    choose_by, score_by = [chosen_on.of(row) for row in rows], [scored_on.of(row) for row in rows]
    for row in rows:
        draw = np.random.default_rng(derive_seed(seed, "shift", counts[row].name))
        choose_by.append(_shifted(*chosen_on.of(row), draw))
        score_by.append(_shifted(*scored_on.of(row), draw))
    detectors = find_each(choose_by, codes_chosen_on, entries_at_once)
    scores = score_each(detectors, score_by, codes_scored_on, entries_at_once)
    latents = [
        _latent(counts[row].name, detector, score, chance_f1)
        for row, detector, score, (chance_f1, _) in zip(rows, detectors, scores, scores[len(rows) :], strict=False)
    ]
    f1 = np.array([latent.f1 for latent in latents])
    chance_f1 = np.array([latent.chance_f1 for latent in latents])
    redrawn = np.random.default_rng(derive_seed(seed, "redraw")).integers(len(rows), size=(_REDRAWS, len(rows)))
    low, high = np.quantile((f1 >= f1_bar)[redrawn].mean(1), [0.025, 0.975])
    return Coverage(
        share=float((f1 >= f1_bar).mean()),
        low=float(low),
        high=float(high),
        mean_f1=float(f1.mean()),
        mean_average_precision=float(np.mean([latent.average_precision for latent in latents])),
        chance_share=float((chance_f1 >= f1_bar).mean()),
        chance_mean_f1=float(chance_f1.mean()),
        latents=latents,
    )


def _latent(name: str, detector: Detector | None, score: tuple[float, float], chance_f1: float) -> BestLatent:
    return BestLatent(
        concept=name,
        latent=detector.latent if detector else None,
        threshold=detector.threshold if detector else None,
        f1_chosen=detector.f1 if detector else 0,
        f1=score[0],
        average_precision=score[1],
        chance_f1=chance_f1,
    )


def _shifted(positive_T: Bools, judged_T: Bools, draw: np.random.Generator) -> Labels:
    """The same labels, moved along the judged tokens by a quarter to three quarters of their number, round the end."""
    judged = np.flatnonzero(judged_T)
    shifted_T = np.zeros_like(positive_T)
    offset = int(draw.integers(len(judged) // 4, 3 * len(judged) // 4 + 1))
    shifted_T[judged] = np.roll(positive_T[judged], offset)
    return shifted_T, judged_T
