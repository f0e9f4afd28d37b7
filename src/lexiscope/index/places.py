"""Places: windows of the indexed text as typed examples, with the documents they are from. E examples, W tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.concordance.firings import Rows, Values
from lexiscope.index.contents import Contents
from lexiscope.index.describing.examples import Example as Chosen
from lexiscope.index.feature import Example


def typed(contents: Contents, chosen: Sequence[Chosen]) -> list[Example]:
    """Chosen windows as readers get them."""
    rows_E = np.array([one.row for one in chosen], np.int64)
    ordinals_E = contents.text.documents(rows_E).tolist()
    positions_E = contents.text.positions(rows_E).tolist()
    documents = contents.database.documents(sorted(set(ordinals_E)))
    made = []
    for one, ordinal, position in zip(chosen, ordinals_E, positions_E, strict=True):
        document, kind, licence, heldout = documents[ordinal]
        made.append(
            Example(
                activation=one.activation,
                row=one.row,
                focus=one.focus,
                pieces=contents.words(one.tokens_W.tolist()),
                activations=one.activations_W.tolist(),
                document=document,
                kind=kind,
                licence=licence,
                position=position,
                heldout=heldout,
            )
        )
    return made


def peak(contents: Contents, row: int, activation: float) -> Chosen:
    """The window around a row where an activation is known, which is all that is known of it."""
    focus, tokens_W = contents.describer.window(row)
    activations_W = np.zeros(len(tokens_W), np.float32)
    activations_W[focus] = activation
    return Chosen("strongest", 0, row, activation, focus, tokens_W, activations_W)


def around(contents: Contents, rows: Sequence[int], rows_N: Rows, values_N: Values) -> list[Chosen]:
    """The windows around some rows, with the firings of one feature in them."""
    chosen = []
    for row in rows:
        focus, tokens_W = contents.describer.window(row)
        activations_W = _activations(row - focus, len(tokens_W), rows_N, values_N)
        chosen.append(Chosen("around", 0, row, float(activations_W[focus]), focus, tokens_W, activations_W))
    return chosen


def _activations(first: int, length: int, rows_N: Rows, values_N: Values) -> NDArray[np.float32]:
    """Of one feature on some rows that follow one another."""
    low, high = np.searchsorted(rows_N, (first, first + length))
    activations_W = np.zeros(length, np.float32)
    activations_W[rows_N[low:high] - first] = values_N[low:high]
    return activations_W
