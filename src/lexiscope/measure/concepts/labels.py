"""Labels: which tokens of a document have which concept. T tokens, C concepts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lexiscope.measure.concepts.concept import Concept
from lexiscope.text.document import Document

_WHITE_SPACE = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)


def label(
    document: Document, starts_T: NDArray[np.int64], ends_T: NDArray[np.int64], concepts: Sequence[Concept]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(positive, judged), both bool [C, T], for tokens that cover the characters ``starts_T[t]:ends_T[t]``."""
    starts_T = _without_leading_space(document.text, starts_T, ends_T)
    positive_CT = np.zeros((len(concepts), len(starts_T)), dtype=np.bool_)
    judged_CT = np.zeros_like(positive_CT)
    for row, concept in enumerate(concepts):
        if document.kind in concept.kinds:
            judged_CT[row] = True
            positive_CT[row] = _meets(list(concept.find(document.text)), len(document.text), starts_T, ends_T)
    return positive_CT, judged_CT


def _without_leading_space(text: str, starts_T: NDArray[np.int64], ends_T: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each token's first character that is not white space stands; its start where there is none."""
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    solid = np.flatnonzero(~np.isin(characters, _WHITE_SPACE))
    following = np.append(solid, len(characters))[np.searchsorted(solid, starts_T)]
    return np.where(following < ends_T, following, starts_T)


def _meets(
    spans: list[tuple[int, int]], characters: int, starts_T: NDArray[np.int64], ends_T: NDArray[np.int64]
) -> NDArray[np.bool_]:
    if not spans:
        return np.zeros(len(starts_T), dtype=np.bool_)
    span_starts, span_ends = np.array(spans).T
    edges = np.bincount(span_starts, minlength=characters + 1) - np.bincount(span_ends, minlength=characters + 1)
    covered = np.concatenate([[0], np.cumsum(np.cumsum(edges[:-1]) > 0)])
    return np.asarray(covered[ends_T] > covered[starts_T], dtype=np.bool_)
