"""From token batches to rows: the activations of real text tokens, and where each comes from.

T tokens, D model width, B contexts, C context length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel
from lexiscope.text.document import Document
from lexiscope.text.pack import PackReport, TokenBatch, pack

COLUMNS = {
    "tokens": "token id",
    "documents": "ordinal of the document, counted from 0 in order of first appearance",
    "positions": "index of the token within its document",
    "contexts": "ordinal of the context that the model read the token in, counted from 0; its rows are contiguous",
    "starts": "first character of the token in the document's text",
    "ends": "one past its last character",
}
"""What is kept for every row beside its activations, each int32 [T]."""


@dataclass(frozen=True)
class Rows:
    """Consecutive rows, in the order the model ran them.

    Attributes:
        activations: for every hook point [T, D], on the CPU or the model's device; empty for rows that were skipped.
        columns: for every name in `COLUMNS` int32 [T], on the CPU.
        documents: document ordinal to document, for every document in these rows.
    """

    activations: Mapping[HookPoint, Tensor]
    columns: Mapping[str, Tensor]
    documents: Mapping[int, Document]

    def __len__(self) -> int:
        return len(self.columns["tokens"])

    def head(self, count: int) -> Rows:
        """The first ``count`` rows, or all if there are fewer."""
        return Rows(
            {hook: x_TD[:count] for hook, x_TD in self.activations.items()},
            {name: column[:count] for name, column in self.columns.items()},
            self.documents,
        )


def resolve_hooks(model: LanguageModel, hooks: Sequence[HookPoint | str]) -> list[HookPoint]:
    """The hook points, checked against the model.

    Raises:
        InputError: none given, one given twice, or one that the model does not have.
    """
    points = [HookPoint.parse(hook) for hook in hooks]
    if not points:
        raise InputError("no hook point given; name at least one, for example resid_post.2")
    for number, point in enumerate(points):
        if point in points[:number]:
            raise InputError(f"hook point {point} is given twice; name each once")
        model.check(point)
    return points


def pack_for(
    model: LanguageModel, documents: Iterable[Document], *, context: int, batch: int, report: PackReport | None = None
) -> Iterator[TokenBatch]:
    """The documents as batches of contexts of their own, with BOS where the model wants it.

    Raises:
        InputError: the model takes only shorter contexts.
    """
    if context > model.max_context:
        raise InputError(f"{model.name} takes contexts of at most {model.max_context} tokens, not {context}")
    return pack(documents, model.tokenizer, context=context, batch=batch, bos=model.bos, report=report)


def read_rows(
    model: LanguageModel,
    batches: Iterable[TokenBatch],
    hooks: Sequence[HookPoint],
    dtype: torch.dtype,
    *,
    first_row: int = 0,
) -> Iterator[Rows]:
    """Run the model over token batches and keep the rows of text; those of BOS, special tokens and padding are dropped.

    Args:
        first_row: batches that end before this row are not run; their rows come without activations.

    Raises:
        InputError: an activation is NaN or infinite in ``dtype``; the message names hook point and document.
    """
    ordinals: dict[int, int] = {}
    num_contexts = num_rows = 0
    for batch in batches:
        if not batch.mask_BC.any():
            continue
        contexts_T, _ = batch.mask_BC.nonzero(as_tuple=True)
        _, contexts_T = torch.unique_consecutive(contexts_T, return_inverse=True)
        read_T = batch.documents_BC[batch.mask_BC]
        documents = _number(read_T, batch.documents, ordinals)
        columns = {
            "tokens": batch.tokens_BC[batch.mask_BC],
            "documents": _replace(read_T, ordinals),
            "positions": batch.positions_BC[batch.mask_BC],
            "contexts": contexts_T + num_contexts,
            "starts": batch.starts_BC[batch.mask_BC],
            "ends": batch.ends_BC[batch.mask_BC],
        }
        num_contexts += int(contexts_T[-1]) + 1
        num_rows += len(contexts_T)
        activations = {}
        if num_rows > first_row:
            with torch.no_grad():
                read = model.read(batch.tokens_BC, hooks, batch.attention_BC)
                activations = {hook: x_BCD[batch.mask_BC.to(x_BCD.device)].to(dtype) for hook, x_BCD in read.items()}
        rows = Rows(activations, {name: column.to(torch.int32) for name, column in columns.items()}, documents)
        _check_finite(rows)
        yield rows


def _number(read_T: Tensor, documents: Mapping[int, Document], ordinals: dict[int, int]) -> dict[int, Document]:
    """Give new documents the next ordinals, in order of appearance; which documents these rows come from."""
    found = {}
    for number in torch.unique_consecutive(read_T).tolist():
        found[ordinals.setdefault(number, len(ordinals))] = documents[number]
    return found


def _replace(read_T: Tensor, ordinals: Mapping[int, int]) -> Tensor:
    numbers, inverse_T = torch.unique(read_T, return_inverse=True)
    return torch.tensor([ordinals[number] for number in numbers.tolist()])[inverse_T]


def _check_finite(rows: Rows) -> None:
    for hook, x_TD in rows.activations.items():
        low, high = torch.aminmax(x_TD)  # one pass without a copy; NaN carries through
        if torch.isfinite(low) and torch.isfinite(high):
            continue
        row = int((~torch.isfinite(x_TD)).any(1).nonzero()[0])
        document = rows.documents[int(rows.columns["documents"][row])]
        position = int(rows.columns["positions"][row])
        hint = "harvest in bfloat16" if x_TD.dtype == torch.float16 else "load the model in float32"
        raise InputError(
            f"the activation at {hook} is NaN or infinite on token {position} of document {document.id!r}; "
            f"{hint}, or leave that document out"
        )
