"""Corpus: a stream of documents from one source or several, the same for the same source, seed and split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lexiscope.core.errors import CorpusError, InputError
from lexiscope.text.document import HELDOUT_SHARE, Document, is_heldout
from lexiscope.text.pieces import MAX_DOCUMENT_CHARACTERS, pieces
from lexiscope.text.report import ReadReport
from lexiscope.text.sources import Source, find_again, open_source
from lexiscope.text.sources.files import Files

Split = Literal["all", "train", "heldout"]
DEMO = ["stdlib", "generated"]
"""What the source ``demo`` stands for."""


class Corpus:
    """Text to read.

    Args:
        source: ``demo`` (the standard library and generated pages), ``stdlib``, ``installed``, ``generated``,
            ``generated:<name>``, ``hf:<dataset>``, the path of a file or folder, or several of these joined by ``+``.
            Several take turns so that each has given about the same number of characters, as long as it lasts.
            Generators are endless: beside other sources they stop when those are used up.
        seed: decides the order of documents and what the generators write.
        split: ``heldout`` is a share of the documents by hash of their id, ``train`` the others.
        heldout_share: how many are held out; stores of few documents hold out more.
        text_column: the text in JSON Lines, Parquet and Hugging Face records.

    A document is left out, and counted in `report`, when it is empty or only white space, or holds NUL characters or
    lone surrogates. One above `MAX_DOCUMENT_CHARACTERS` is given in pieces.

    Raises:
        InputError: unknown source, generator or split.
    """

    report: ReadReport

    def __init__(
        self,
        source: str | Path,
        *,
        seed: int = 0,
        split: Split = "all",
        text_column: str = "text",
        heldout_share: float = HELDOUT_SHARE,
    ) -> None:
        if split not in ("all", "train", "heldout"):
            raise InputError(f"no split {split!r}; there are all, train and heldout")
        self.source = _find_again(source)
        """What was asked for, with paths made absolute."""
        self.text_column = text_column
        self._heldout_share = heldout_share
        self.seed = seed
        self.split = split
        self.report = ReadReport()
        self._sources = _open(source, text_column)
        self._licences: set[str] = set()
        self._digest = hashlib.sha256()

    def documents(self) -> Iterator[Document]:
        """One pass from the beginning; `report` starts anew.

        Raises:
            CorpusError: nothing usable in the whole source; the message says what was skipped and why.
        """
        self.report = report = ReadReport()
        self._licences = set()
        self._digest = digest = hashlib.sha256()
        other_side = 0
        for document in _usable(_in_turns(self._sources, self.seed, report), report):
            if self.split != "all" and is_heldout(document.id, self._heldout_share) != (self.split == "heldout"):
                other_side += 1
                continue
            report.documents += 1
            report.characters += len(document.text)
            self._licences.add(document.licence)
            digest.update(f"{document.id}\n{document.text}\n".encode())
            yield document
        if not report.documents:
            raise CorpusError(self._nothing_read(other_side))

    def describe(self) -> dict[str, Any]:
        """For manifests: where the text is from, and what was read of it in the last pass so far."""
        return {
            "source": self.source,
            "seed": self.seed,
            "split": self.split,
            "text_column": self.text_column,
            "revision": [source.revision() for source in self._sources],
            "fingerprint": self._digest.hexdigest(),
            "licences": sorted(self._licences),
            "report": self.report.as_dict(),
        }

    def _nothing_read(self, other_side: int) -> str:
        if other_side:
            return (
                f"all {other_side} documents of {self.source!r} are on the other side of the split {self.split!r}; "
                "give more documents, or split='all'"
            )
        skipped = ", ".join(f"{count} ({reason})" for reason, count in self.report.skipped.most_common())
        return f"no usable document in {self.source!r}; skipped: {skipped or 'none'}. Give another file, folder or name"


def _is_path(source: str | Path) -> bool:
    """A path for certain, even with a ``+`` in it."""
    return isinstance(source, Path) or ("+" in source and os.path.exists(source))  # noqa: PTH110 - see open_source


def _find_again(source: str | Path) -> str:
    if _is_path(source):
        return str(Path(source).absolute())
    return "+".join(find_again(part) for part in str(source).split("+"))


def _open(source: str | Path, text_column: str) -> list[Source]:
    if _is_path(source):
        return [Files(Path(source), text_column)]
    names = [name for part in str(source).split("+") for name in (DEMO if part == "demo" else [part])]
    return [open_source(name, text_column=text_column) for name in names]


def _in_turns(sources: list[Source], seed: int, report: ReadReport) -> Iterator[Document]:
    """Interleave by characters; ends with the last source that ends by itself."""
    streams = {number: source.documents(seed, report) for number, source in enumerate(sources)}
    characters = dict.fromkeys(streams, 0)
    endless_only = all(source.endless for source in sources)
    while endless_only or any(not sources[number].endless for number in streams):
        turn = min(streams, key=lambda number: (characters[number], number))
        document = next(streams[turn], None)
        if document is None:
            del streams[turn]
        else:
            characters[turn] += len(document.text)
            yield document


def _usable(documents: Iterator[Document], report: ReadReport) -> Iterator[Document]:
    for document in documents:
        if reason := _fault(document.text):
            report.skip(reason)
        elif len(document.text) <= MAX_DOCUMENT_CHARACTERS:
            yield document
        else:
            report.split += 1
            for number, text in enumerate(pieces([document.text])):
                yield Document(f"{document.id}#{number}", text, document.kind, document.licence)


def _fault(text: str) -> str | None:
    """Why a text can't be used, or None."""
    if not text or text.isspace():
        return "empty"
    if "\0" in text:
        return "NUL characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "lone surrogates"
    return None
