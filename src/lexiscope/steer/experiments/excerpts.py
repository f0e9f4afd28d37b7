"""Excerpts: text of a corpus on two sides of a split by document. What is chosen on one side is judged on the other."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.seeds import derive_seed
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.heldout import Excerpts
from lexiscope.text.corpus import Corpus
from lexiscope.text.document import HELDOUT_SHARE, Document, heldout_rank

Side = Literal["train", "heldout"]
SIDES: tuple[Side, ...] = get_args(Side)
"""Where things are chosen, and where they are judged."""
CHARACTERS = 3000
"""That are read of a document, so that a given number of tokens is of many documents."""


class Source(NamedTuple):
    """A corpus, and how much of it is held out."""

    corpus: str = "demo"
    text_column: str = "text"
    heldout_share: float = HELDOUT_SHARE

    @classmethod
    def of(cls, sae: Artifact) -> Source:
        """The text that a dictionary was trained on, split as it was then; the demo corpus where it does not say."""
        said = sae.manifest["sources"].get("corpus", {})
        if "source" not in said:
            return cls()
        return cls(str(said["source"]), str(said.get("text_column", "text")), _share(sae))

    def documents(self, side: Side, seed: int = 0) -> Iterator[Document]:
        """Beginnings of the documents of one side. Another seed is another order and another split; 0 is that by which
        dictionaries are trained.

        Raises:
            InputError: there is no such text.
        """
        share = self.heldout_share
        corpus = Corpus(
            self.corpus,
            seed=seed + 1,
            split=side if seed == 0 else "all",
            text_column=self.text_column,
            heldout_share=share,
        )
        for document in Excerpts(corpus).documents(CHARACTERS):
            if seed == 0 or (heldout_rank(f"{seed} {document.id}") < share) == (side == "heldout"):
                yield document


class Excerpt(NamedTuple):
    """The beginning of a document as a model's tokenizer cuts it."""

    document: Document
    ids: list[int]
    starts: list[int]
    ends: list[int]
    """Characters of every token."""


def read(
    model: LanguageModel, source: Source, side: Side, tokens: int, seed: int = 0, progress: Progress = SILENT
) -> list[Excerpt]:
    """Excerpts until there are so many tokens.

    Raises:
        InputError: there is no such text.
    """
    found: list[Excerpt] = []
    count = 0
    with progress.task("Reading text", total=tokens, unit="tokens") as task:
        for document in source.documents(side, seed):
            encoded = model.tokenizer.encode(document.text)
            if len(encoded.ids) > 1:
                found.append(Excerpt(document, encoded.ids, encoded.starts, encoded.ends))
                count += len(encoded.ids)
                task.advance(len(encoded.ids))
            if count >= tokens:
                break
    if not found:
        raise InputError(f"{source.corpus!r} has no {side} text; name a corpus of more documents")
    return found


class Windows(NamedTuple):
    """Stretches of text as token ids, and the names of the documents that they are from."""

    texts: list[list[int]]
    documents: list[str]


def windows(
    excerpts: Sequence[Excerpt], rows: int, length: int, kinds: Collection[str] | None, seed: int, *what: object
) -> Windows:
    """One stretch from each of so many documents, at random.

    Args:
        kinds: of documents; None: all.
        what: they are for, so that two purposes do not have the same ones.
    """
    rng = random.Random(derive_seed(seed, *what))
    fit = [each for each in excerpts if len(each.ids) >= length and (not kinds or each.document.kind in kinds)]
    chosen = rng.sample(fit, min(rows, len(fit)))
    starts = [rng.randrange(len(each.ids) - length + 1) for each in chosen]
    texts = [each.ids[start : start + length] for each, start in zip(chosen, starts, strict=True)]
    return Windows(texts, [each.document.id for each in chosen])


def _share(sae: Artifact) -> float:
    """Held out when the dictionary was trained; the usual share where its store is not there any more."""
    source = sae.source("store")
    try:
        store = None if source is None else open_artifact(source["path"], "store")
    except ArtifactError:
        store = None
    if store is None or source is None or store.fingerprint != source["fingerprint"]:
        return HELDOUT_SHARE
    return float(store.manifest.get("heldout_share", HELDOUT_SHARE))
