"""Compare: two features side by side, of one dictionary or of two.

What they have in common is exact: from every firing of both, where the two indexes were made from the same activations
and a row is the same token for both. N tokens of the text; n_a, n_b firings; n_ab tokens on which both fire.

    Jaccard = n_ab / (n_a + n_b - n_ab),   by chance n_a n_b / N tokens would have both,
    correlation = that of the two activations over all N tokens, 0 where a feature is silent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray

from lexiscope.core.artifact import Artifact
from lexiscope.index.feature import Example, Feature, Real
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.saes.weights import WEIGHTS
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.view import View

_DIRECTIONS = "W_dec_FD"
_EXAMPLES = 8
_LOOKED_AT = 400


class Overlap(View):
    """Where two features fire, on the same text."""

    tokens: int
    """Of the text."""
    both: int
    only_a: int
    only_b: int
    by_chance: Real
    """On how many tokens both would fire if neither cared about the other."""
    jaccard: Real
    """Tokens on which both fire over tokens on which either does."""
    correlation: Real | None
    """Of the activations; None where one of them never changes."""
    together: list[Example]
    """Where both fire, strongest first, as examples of a."""
    only_a_examples: list[Example]
    """The strongest firings of a on tokens where b is silent."""
    only_b_examples: list[Example]


class FeaturePair(View):
    a: Feature
    b: Feature
    cosine: Real | None
    """Of the decoder directions; None where they can't be compared."""
    overlap: Overlap | None
    """None where the two were not indexed on the same activations."""


class Firings(NamedTuple):
    rows: NDArray[np.int64]
    """Ascending."""
    values: NDArray[np.float32]


def compare_features(a: Dictionary, first: int, b: Dictionary, second: int) -> FeaturePair:
    """Two features side by side.

    Raises:
        InputError: there is no such feature.
    """
    one, other = a.index.feature(first), b.index.feature(second)
    overlap = None
    if same_text(a, b):
        overlap = _overlap(a.index, first, b.index, second)
    directions = [read_directions(of.sae, [number]) for of, number in ((a, first), (b, second))]
    return FeaturePair(a=one, b=other, cosine=_cosine(*directions), overlap=overlap)


def same_text(a: Dictionary, b: Dictionary) -> bool:
    """Whether a row is the same token for both."""
    if a is b:
        return True
    stores = [of.artifact.source("store") for of in (a, b)]
    return (
        stores[0] is not None
        and stores[1] is not None
        and stores[0]["fingerprint"] == stores[1]["fingerprint"]
        and np.array_equal(a.index.text.tokens_T, b.index.text.tokens_T)
    )


def read_directions(sae: Artifact | None, rows: Sequence[int] | None = None) -> torch.Tensor | None:
    """Decoder directions of an SAE, float32 [rows, width].

    None where it is not there, can't be read, or has no such matrix.
    """
    if sae is None:
        return None
    try:
        with safetensors.safe_open(sae.file(WEIGHTS), framework="pt") as file:
            if _DIRECTIONS not in file.keys():  # noqa: SIM118  it is no mapping
                return None
            found = file.get_slice(_DIRECTIONS)
            if rows is None:
                return torch.as_tensor(found[:]).float()
            return torch.cat([torch.as_tensor(found[row : row + 1]) for row in rows]).float()
    except (OSError, safetensors.SafetensorError):
        return None  # where the two fire can be told all the same


def counts(a: Firings, b: Firings, tokens: int) -> tuple[int, int, int, float, float, float | None]:
    """Both, only a, only b, both by chance, Jaccard, correlation."""
    shared, in_a, in_b = np.intersect1d(a.rows, b.rows, assume_unique=True, return_indices=True)
    both, either = len(shared), len(a.rows) + len(b.rows) - len(shared)
    values_a, values_b = a.values.astype(np.float64), b.values.astype(np.float64)
    joint = float(values_a[in_a] @ values_b[in_b]) / tokens
    mean_a, mean_b = values_a.sum() / tokens, values_b.sum() / tokens
    spread = (values_a @ values_a / tokens - mean_a**2) * (values_b @ values_b / tokens - mean_b**2)
    correlation = (joint - mean_a * mean_b) / math.sqrt(spread) if spread > 0 else None
    chance = len(a.rows) * len(b.rows) / tokens
    return both, len(a.rows) - both, len(b.rows) - both, chance, both / max(either, 1), correlation


def _overlap(index_a: FeatureIndex, first: int, index_b: FeatureIndex, second: int) -> Overlap:
    a, b = Firings(*index_a.firings(first)), Firings(*index_b.firings(second))
    both, only_a, only_b, chance, jaccard, correlation = counts(a, b, index_a.num_tokens)
    in_b, in_a = np.isin(a.rows, b.rows, assume_unique=True), np.isin(b.rows, a.rows, assume_unique=True)
    return Overlap(
        tokens=index_a.num_tokens,
        both=both,
        only_a=only_a,
        only_b=only_b,
        by_chance=chance,
        jaccard=jaccard,
        correlation=correlation,
        together=_strongest(index_a, first, Firings(a.rows[in_b], a.values[in_b])),
        only_a_examples=_strongest(index_a, first, Firings(a.rows[~in_b], a.values[~in_b])),
        only_b_examples=_strongest(index_b, second, Firings(b.rows[~in_a], b.values[~in_a])),
    )


def _strongest(index: FeatureIndex, feature: int, among: Firings) -> list[Example]:
    """The strongest of some firings, no text twice."""
    order = np.argsort(-among.values, kind="stable")[:_LOOKED_AT]
    rows, seen = [], set()
    tokens_T = index.text.tokens_T
    for row in among.rows[order].tolist():
        key = tokens_T[max(row - 6, 0) : row + 4].tobytes()
        if key not in seen:
            seen.add(key)
            rows.append(row)
        if len(rows) == _EXAMPLES:
            break
    return index.around(feature, rows)


def _cosine(one_ND: torch.Tensor | None, other_ND: torch.Tensor | None) -> float | None:
    if one_ND is None or other_ND is None or one_ND.shape[1] != other_ND.shape[1]:
        return None
    return float(torch.nn.functional.cosine_similarity(one_ND, other_ND)[0])
