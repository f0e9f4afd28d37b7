"""The search for a concept's latent against brute force over every latent and every threshold, on small dense data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.measure.concepts.concept import EVERYWHERE, Concept
from lexiscope.measure.concepts.coverage import LabelledTokens, count_concepts, cover
from lexiscope.measure.concepts.search import SortedCodes


def draw_case(seed, tokens=60, latents=7, levels=5, *, signed=False):
    """Codes with many ties, labels that lean on one latent, and some tokens left out."""
    rng = np.random.default_rng(seed)
    codes_TF = np.maximum(rng.integers(-levels, levels, (tokens, latents)), -levels if signed else 0) / 2
    judged_T = rng.random(tokens) < 0.8
    positive_T = (np.abs(codes_TF[:, 2]) + rng.random(tokens) > 1.5) & judged_T
    return codes_TF.astype(np.float32), positive_T, judged_T


def f1(said_yes, positive):
    hits = (said_yes & positive).sum()
    return 2 * hits / (said_yes.sum() + positive.sum())


def brute_force(codes_TF, positive_T, judged_T):
    """The greatest F1 over all latents and all positive values as thresholds."""
    codes, positive = codes_TF[judged_T], positive_T[judged_T]
    return max(
        (
            f1(codes[:, latent] >= threshold, positive)
            for latent in range(codes.shape[1])
            for threshold in np.unique(codes[:, latent])
            if threshold > 0
        ),
        default=0,
    )


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 10**6), signed=st.booleans())
def test_find_equals_brute_force(seed, signed):
    codes_TF, positive_T, judged_T = draw_case(seed, signed=signed)
    both_TF = np.concatenate([codes_TF.clip(min=0), (-codes_TF).clip(min=0)], 1)
    codes = SortedCodes(SparseCodes.from_dense(torch.from_numpy(codes_TF)))
    found = codes.find(positive_T, codes.count(judged_T))
    assert found is not None
    assert found.f1 == pytest.approx(brute_force(both_TF, positive_T, judged_T))
    assert found.f1 == pytest.approx(f1((both_TF[:, found.latent] >= found.threshold)[judged_T], positive_T[judged_T]))
    assert codes.score(found, positive_T, judged_T)[0] == pytest.approx(found.f1)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_average_precision_equals_the_sum_over_thresholds(seed):
    """Oracle: Σ (R_n - R_{n-1}) P_n over every distinct activation from strong to weak, silence last."""
    codes_TF, positive_T, judged_T = draw_case(seed)
    codes = SortedCodes(SparseCodes.from_dense(torch.from_numpy(codes_TF)))
    found = codes.find(positive_T, codes.count(judged_T))
    values, positive = codes_TF[judged_T, found.latent], positive_T[judged_T]
    expected = recall = 0.0
    for threshold in sorted(set(values), reverse=True):
        said_yes = values >= threshold
        hits = (said_yes & positive).sum()
        expected += (hits / positive.sum() - recall) * hits / said_yes.sum()
        recall = hits / positive.sum()
    assert codes.score(found, positive_T, judged_T)[1] == pytest.approx(expected)


def test_no_latent_fires_on_the_concept():
    codes = SortedCodes(SparseCodes.from_dense(torch.tensor([[1.0], [0.0]])))
    assert codes.find(np.array([False, True]), codes.count(np.array([True, True]))) is None
    empty = SortedCodes(SparseCodes.from_dense(torch.zeros(2, 3)))
    assert empty.find(np.array([False, True]), empty.count(np.array([True, True]))) is None


CONCEPTS = [Concept(name, f"{name}.", EVERYWHERE, lambda _: []) for name in ("planted", "unrelated", "rare")]


def halves(seed=0, tokens=4000):
    """Latent 3 fires on the planted concept alone; nothing fires on the unrelated one; the rare one has 9 tokens."""
    made = []
    for half in range(2):
        rng = np.random.default_rng([seed, half])
        planted = rng.random(tokens) < 0.05
        unrelated = rng.random(tokens) < 0.05
        rare = np.arange(tokens) < 9
        codes_TF = rng.random((tokens, 8)) * (rng.random((tokens, 8)) < 0.1)
        codes_TF[:, 3] = planted * (0.5 + rng.random(tokens))
        positive_CT = np.stack([planted, unrelated, rare])
        labels = LabelledTokens(positive_CT, np.ones_like(positive_CT), frozenset({f"half {half}"}))
        made.append((labels, [SparseCodes.from_dense(torch.from_numpy(codes_TF).float())]))
    return made


def test_a_planted_concept_is_found_and_an_unrelated_one_is_at_chance():
    (chosen_on, chosen), (scored_on, scored) = halves()
    counts = count_concepts(CONCEPTS, chosen_on, scored_on)
    assert [count.judged for count in counts] == [True, True, False]
    coverage = cover(counts, chosen_on, scored_on, chosen, scored)
    planted, unrelated = coverage.latents
    assert (planted.latent, planted.f1, planted.average_precision) == (3, 1.0, 1.0)
    assert unrelated.f1 < 0.2
    assert planted.chance_f1 < 0.2
    assert coverage.share == 0.5
    assert coverage.low == 0.0
    assert coverage.high == 1.0
    assert coverage.chance_share == 0.0


@pytest.mark.parametrize("entries_at_once", [1, 500])
def test_parts_and_blocks_do_not_show_in_the_result(entries_at_once):
    """Oracle: all tokens in one part, all latents at once. Latents are signed and tie, within and across blocks."""
    made = []
    for half, (labels, _) in enumerate(halves(tokens=600)):
        rng = np.random.default_rng(half)
        codes_TF = np.tile(rng.integers(-2, 3, (600, 4)), 2)
        codes_TF[:, 1] = labels.positive_CT[0] * -1
        made.append((labels, SparseCodes.from_dense(torch.from_numpy(codes_TF).float())))
    (chosen_on, chosen), (scored_on, scored) = made
    counts = count_concepts(CONCEPTS, chosen_on, scored_on, min_positives=5)
    whole = cover(counts, chosen_on, scored_on, [chosen], [scored])
    parts = [
        [SparseCodes.from_dense(part) for part in codes.dense().split([250, 0, 350])] for codes in (chosen, scored)
    ]
    assert cover(counts, chosen_on, scored_on, *parts, entries_at_once=entries_at_once) == whole
    assert whole.latents[0].latent == 8 + 1


def test_halves_that_share_a_document_are_refused():
    (chosen_on, _), (scored_on, _) = halves()
    shared = LabelledTokens(scored_on.positive_CT, scored_on.judged_CT, scored_on.documents | {"half 0"})
    with pytest.raises(InputError, match="split by document"):
        count_concepts(CONCEPTS, chosen_on, shared)


def test_nothing_to_judge_is_refused():
    (chosen_on, chosen), (scored_on, scored) = halves()
    counts = count_concepts(CONCEPTS, chosen_on, scored_on, min_positives=10**6)
    with pytest.raises(InputError, match="no concept is frequent enough"):
        cover(counts, chosen_on, scored_on, chosen, scored)
