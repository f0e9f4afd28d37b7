"""Held-out material: rows of an activation store, and excerpts of documents, that training has not seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.harvest.store import ActivationStore
from lexiscope.text.corpus import Corpus
from lexiscope.text.document import Document


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


def excerpts(corpus: Corpus, characters: int) -> Iterator[Document]:
    """The beginning of each document, whole lines up to about ``characters``; of texts that are the same, the first.

    Beginnings, so that a given number of tokens is spread over many documents.
    """
    seen = set()
    for document in corpus.documents():
        text = document.text
        if len(text) > characters:
            text = text[: text.rfind("\n", 0, characters) + 1] or text[:characters]
        digest = hashlib.sha256(text.encode()).digest()
        if digest not in seen:
            seen.add(digest)
            yield Document(document.id, text, document.kind, document.licence)


def text_of(store: ActivationStore) -> Corpus:
    """The held-out documents of the corpus that a store was made from.

    Raises:
        InputError: the manifest does not say which, or its source is not there any more.
    """
    described = store.artifact.manifest["sources"].get("corpus", {})
    if "source" not in described:
        raise InputError(f"{store.artifact.path} does not say which text it is from; name the corpus")
    return Corpus(described["source"], seed=int(described.get("seed", 0)), split="heldout")
