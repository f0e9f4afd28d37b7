"""Pack: documents to batches of token contexts that remember where every token is from.

B contexts, C context length, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.text.document import Document
from lexiscope.text.tokenizer import Tokenizer

Bos = Literal["context", "document", "never"]
_ENCODE_CHARACTERS = 2**18
"""Characters that go to the tokenizer at once: enough to keep its threads busy."""
_WINDOW_BATCHES = 16
"""Batches' worth of contexts that are held to put similar lengths together."""
_ID, _DOCUMENT, _POSITION, _START, _END = range(5)
"""What is known of each token: the rows of a table with one column per token (``table_5T``, int32)."""


@dataclass(frozen=True)
class TokenBatch:
    """B contexts of up to C tokens, right padded to the longest.

    Attributes:
        tokens_BC: int64 token ids.
        documents_BC: int32 ordinal of the token's document in reading order; -1 for BOS and padding.
        positions_BC: int32 index of the token in its document; -1 for BOS and padding.
        starts_BC, ends_BC: int32 span of the token in its document, in characters; -1 for BOS and padding.
        mask_BC: True for text: not BOS, not padding, not any other special token.
        attention_BC: True for everything but padding.
        documents: ordinal → document, for every document in this batch.
    """

    tokens_BC: Tensor
    documents_BC: Tensor
    positions_BC: Tensor
    starts_BC: Tensor
    ends_BC: Tensor
    mask_BC: Tensor
    attention_BC: Tensor
    documents: dict[int, Document]


@dataclass
class PackReport:
    """Counts of one pass, in tokens; final when the last batch was given.

    Attributes:
        contexts: contexts given.
        tokens: tokens of documents in them, special ones in the text included.
        dropped_tokens: tokens of documents left out because fewer than ``min_tokens`` were left for a context.
        padding_tokens: places filled up.
    """

    contexts: int = 0
    tokens: int = 0
    dropped_tokens: int = 0
    padding_tokens: int = 0


class _Context(NamedTuple):
    table_5T: NDArray[np.int32]
    documents: dict[int, Document]


def pack(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    *,
    context: int,
    batch: int,
    bos: Bos = "context",
    cross_documents: bool = False,
    min_tokens: int = 4,
    report: PackReport | None = None,
) -> Iterator[TokenBatch]:
    """Cut documents into contexts and group these into batches. The same input gives the same batches.

    Every token of every document is in exactly one context, in order, or counted in ``report.dropped_tokens``.
    Contexts of similar length go together, within a window of 16 batches, so that little is padded; ``batch`` decides
    how contexts are grouped but not what is in them.

    Args:
        context: greatest length C of a context in tokens, BOS included.
        batch: greatest number B of contexts in a batch.
        bos: where the beginning-of-sequence token goes: first in every ``context``, once before every ``document``,
            or ``never``.
        cross_documents: let a context run on into the next document, so that all but the last are full.
        min_tokens: a context with fewer tokens of documents is dropped: the end of a long document, a tiny one.
        report: filled while packing.

    Raises:
        InputError: a setting out of range, or BOS asked of a tokenizer that has none.
    """
    if bos not in ("context", "document", "never"):
        raise InputError(f"bos must be context, document or never, not {bos!r}")
    if bos != "never" and tokenizer.bos_id is None:
        raise InputError(f"the tokenizer has no BOS token, so bos={bos!r} can't be; use bos='never'")
    if batch < 1 or min_tokens < 1:
        raise InputError(f"batch and min_tokens must be at least 1, not {batch} and {min_tokens}")
    least = min_tokens + (bos != "never")
    if context < least:
        raise InputError(f"a context of {context} tokens is too short; with these settings it needs {least}")
    report = PackReport() if report is None else report
    bos_id = None if bos == "never" else tokenizer.bos_id
    wholes = _encoded(documents, tokenizer, bos_id if bos == "document" else None)
    room = context - (bos == "context")
    pieces = _pieces_across(wholes, room) if cross_documents else _pieces_within(wholes, room)
    contexts = _kept(pieces, min_tokens, bos_id if bos == "context" else None, report)
    return _batches(contexts, batch, tokenizer, report)


def _encoded(documents: Iterable[Document], tokenizer: Tokenizer, bos_id: int | None) -> Iterator[_Context]:
    """Each document as one context of any length, numbered in reading order."""
    ordinal = 0
    for group in _grouped(documents):
        for document, encoded in zip(group, tokenizer.encode_many([item.text for item in group]), strict=True):
            T = len(encoded.ids)
            table_5T = np.empty((5, T), np.int32)
            table_5T[_ID] = encoded.ids
            table_5T[_DOCUMENT] = ordinal
            table_5T[_POSITION] = np.arange(T)
            table_5T[_START] = encoded.starts
            table_5T[_END] = encoded.ends
            if T:
                yield _Context(_with_bos(table_5T, bos_id), {ordinal: document})
            ordinal += 1


def _grouped(documents: Iterable[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.text)
        if characters >= _ENCODE_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _pieces_within(wholes: Iterable[_Context], room: int) -> Iterator[_Context]:
    for table_5T, documents in wholes:
        for start in range(0, table_5T.shape[1], room):
            yield _Context(table_5T[:, start : start + room], documents)


def _pieces_across(wholes: Iterable[_Context], room: int) -> Iterator[_Context]:
    rest_5T = np.empty((5, 0), np.int32)
    rest_documents: dict[int, Document] = {}
    for table_5T, documents in wholes:
        rest_5T = np.concatenate([rest_5T, table_5T], axis=1)
        rest_documents |= documents
        full = rest_5T.shape[1] // room * room
        for start in range(0, full, room):
            yield _joined(rest_5T[:, start : start + room], rest_documents)
        rest_5T = rest_5T[:, full:]
        rest_documents = _joined(rest_5T, rest_documents).documents
    if rest_5T.size:
        yield _joined(rest_5T, rest_documents)


def _joined(table_5T: NDArray[np.int32], documents: dict[int, Document]) -> _Context:
    """A context with those of the documents that have a token in it."""
    ordinals = np.unique(table_5T[_DOCUMENT]).tolist()
    return _Context(table_5T, {ordinal: documents[ordinal] for ordinal in ordinals if ordinal >= 0})


def _kept(pieces: Iterable[_Context], min_tokens: int, bos_id: int | None, report: PackReport) -> Iterator[_Context]:
    for table_5T, documents in pieces:
        tokens = int((table_5T[_DOCUMENT] >= 0).sum())
        if tokens < min_tokens:
            report.dropped_tokens += tokens
        else:
            report.contexts += 1
            report.tokens += tokens
            yield _Context(_with_bos(table_5T, bos_id), documents)


def _with_bos(table_5T: NDArray[np.int32], bos_id: int | None) -> NDArray[np.int32]:
    if bos_id is None:
        return table_5T
    column = np.array([[bos_id], [-1], [-1], [-1], [-1]], np.int32)
    return np.concatenate([column, table_5T], axis=1)


def _batches(
    contexts: Iterator[_Context], batch: int, tokenizer: Tokenizer, report: PackReport
) -> Iterator[TokenBatch]:
    """Group by length within a window; batches, and the contexts in one, stay in reading order as far as that goes."""
    while window := list(islice(contexts, batch * _WINDOW_BATCHES)):
        by_length = sorted(range(len(window)), key=lambda number: window[number].table_5T.shape[1])
        groups = [sorted(by_length[start : start + batch]) for start in range(0, len(window), batch)]
        for group in sorted(groups):
            yield _batch([window[number] for number in group], tokenizer, report)


def _batch(contexts: list[_Context], tokenizer: Tokenizer, report: PackReport) -> TokenBatch:
    lengths_B = np.array([table_5T.shape[1] for table_5T, _ in contexts])
    table_5BC = np.full((5, len(contexts), lengths_B.max()), -1, np.int32)
    table_5BC[_ID] = tokenizer.pad_id
    for row, (table_5T, _) in enumerate(contexts):
        table_5BC[:, row, : table_5T.shape[1]] = table_5T
    attention_BC = np.arange(table_5BC.shape[2]) < lengths_B[:, None]
    special_BC = np.isin(table_5BC[_ID], list(tokenizer.special_ids))
    report.padding_tokens += int((~attention_BC).sum())
    documents: dict[int, Document] = {}
    for _, of_context in contexts:
        documents |= of_context
    return TokenBatch(
        tokens_BC=torch.from_numpy(table_5BC[_ID].astype(np.int64)),
        documents_BC=torch.from_numpy(table_5BC[_DOCUMENT]),
        positions_BC=torch.from_numpy(table_5BC[_POSITION]),
        starts_BC=torch.from_numpy(table_5BC[_START]),
        ends_BC=torch.from_numpy(table_5BC[_END]),
        mask_BC=torch.from_numpy((table_5BC[_DOCUMENT] >= 0) & ~special_BC),
        attention_BC=torch.from_numpy(attention_BC),
        documents=documents,
    )
