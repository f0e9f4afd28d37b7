"""Meaning: what pages need to find labels by what they mean. Without an encoder the search is one for words only.

LEXISCOPE_ENCODER names the folder of the encoder with which `lexiscope embed` made the vectors. It is opened when
somebody first searches so.
"""

from __future__ import annotations

import functools
import os

from lexiscope.core.errors import InputError
from lexiscope.index.notes import Notes
from lexiscope.index.notes.meaning import MOST_HITS, Meaning
from lexiscope.lm.encoder import SentenceEncoder

VARIABLE = "LEXISCOPE_ENCODER"


def meant(notes: Notes, text: str) -> set[int]:
    """The features with the labels that are closest to a text.

    Raises:
        LexiscopeError: there is no encoder, or there are no vectors of it.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise InputError(
            "labels are found by their words only here; for their meaning give them vectors with `lexiscope embed`, "
            f"then start `lexiscope view` with {VARIABLE} set to the folder of the encoder"
        )
    return {hit.label.feature for hit in _meaning(notes, folder)(text, MOST_HITS).hits}


@functools.lru_cache(maxsize=1)
def _encoder(folder: str) -> SentenceEncoder:
    return SentenceEncoder(folder)


@functools.lru_cache(maxsize=4)
def _meaning(notes: Notes, folder: str) -> Meaning:
    return Meaning(notes, _encoder(folder))
