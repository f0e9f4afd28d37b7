"""Held-out material: rows of an activation store, and excerpts of documents, that training has not seen."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.harvest.store import ActivationStore
from lexiscope.text.corpus import Corpus, Split
from lexiscope.text.document import HELDOUT_SHARE, Document

EXCERPT_CHARACTERS = 12_000


class HeldoutRows(NamedTuple):
    """Rows of a store in order, and for each one which of the documents they come from: 0..G-1."""

    rows_T: NDArray[np.int64]
    documents_T: NDArray[np.int64]


def heldout_rows(store: ActivationStore, tokens: int, seed: int) -> HeldoutRows:
    """Up to ``tokens`` rows of held-out documents: whole documents in seeded order, the last one cut short.

    Raises:
        InputError: the store has no held-out rows.
    """
    rows_T = np.flatnonzero(store.heldout_T)
    if not len(rows_T):
        raise InputError(f"{store.artifact.path} has no rows of held-out documents; harvest more documents")
    ordinals, documents_T = np.unique(store.documents_T[rows_T], return_inverse=True)
    place_G = np.random.default_rng(derive_seed(seed, "held-out documents")).permutation(len(ordinals))
    chosen = np.sort(np.argsort(place_G[documents_T], kind="stable")[:tokens])
    _, documents_T = np.unique(documents_T[chosen], return_inverse=True)
    return HeldoutRows(rows_T[chosen], documents_T.astype(np.int64))


class Excerpts:
    """The beginning of each document of a corpus: whole lines, up to about 12,000 characters.

    Beginnings, so that a given number of tokens is spread over many documents. Of texts that begin the same, the first.
    What was read stays in memory, so that reading again costs nothing.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._source = corpus.documents()
        self._read: list[Document] = []
        self._seen: set[bytes] = set()

    def documents(self, characters: int = EXCERPT_CHARACTERS) -> Iterator[Document]:
        """From the beginning, cut to about ``characters``, at most `EXCERPT_CHARACTERS`."""
        for place in itertools.count():
            if place == len(self._read) and not self._read_on():
                return
            yield _cut(self._read[place], characters)

    def _read_on(self) -> bool:
        """Read one more document; False at the end."""
        for document in self._source:
            excerpt = _cut(document, EXCERPT_CHARACTERS)
            digest = hashlib.sha256(excerpt.text.encode()).digest()
            if digest not in self._seen:
                self._seen.add(digest)
                self._read.append(excerpt)
                return True
        return False


def _cut(document: Document, characters: int) -> Document:
    text = document.text
    if len(text) <= characters:
        return document
    return replace(document, text=text[: text.rfind("\n", 0, characters) + 1] or text[:characters])


def text_of(store: ActivationStore, split: Split = "heldout", *, again: int = 0) -> Corpus:
    """The documents of the corpus that a store was made from, those of one split.

    Args:
        again: how often it was read before; each time the order is another.

    Raises:
        InputError: the manifest does not say which, or its source is not there any more.
    """
    described = store.artifact.manifest["sources"].get("corpus", {})
    if "source" not in described:
        raise InputError(f"{store.artifact.path} does not say which text it is from; name the corpus")
    return Corpus(
        described["source"],
        seed=int(described.get("seed", 0)) + again,
        split=split,
        text_column=str(described.get("text_column", "text")),
        heldout_share=float(store.artifact.manifest.get("heldout_share", HELDOUT_SHARE)),
    )
