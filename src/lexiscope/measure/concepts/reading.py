"""Reading: held-out text through the model, each dictionary's codes of it, and which of its tokens have which concept.

Documents go to one half or the other by a hash of their name; excerpts of one document share it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lexiscope.core.codes import SparseCodes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import Task
from lexiscope.core.seeds import derive_seed
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts.concept import Concept
from lexiscope.measure.concepts.coverage import LabelledTokens
from lexiscope.measure.concepts.labels import label
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.text.document import Document, whole_id
from lexiscope.text.pack import TokenBatch


@dataclass
class Half:
    """Tokens of one half of the documents, in the order they were read, with the codes of each dictionary."""

    labels: LabelledTokens
    codes: dict[str, list[SparseCodes]]
    """In parts, as they were read."""


@dataclass
class _Growing:
    documents: dict[int, Document] = field(default_factory=dict)
    tokens: list[torch.Tensor] = field(default_factory=list)
    """[3, n]: document, first character, end."""
    codes: dict[str, list[SparseCodes]] = field(default_factory=lambda: defaultdict(list))


@torch.no_grad()
def read_halves(
    model: LanguageModel,
    hooks: Sequence[HookPoint],
    dictionaries: Mapping[str, SparseAutoencoder],
    batches: Iterable[TokenBatch],
    concepts: Sequence[Concept],
    *,
    tokens: int,
    task: Task,
) -> tuple[Half, Half]:
    """Read text until both halves together have ``tokens`` text tokens, or the text ends. Only text tokens are kept.

    Dictionaries get the activations of all ``hooks`` side by side.
    """
    halves = (_Growing(), _Growing())
    read = 0
    for batch in batches:
        read_at = model.read(batch.tokens_BC, hooks, batch.attention_BC)
        x_BCD = torch.cat([read_at[hook] for hook in hooks], dim=2)
        x_TD = x_BCD[batch.mask_BC.to(x_BCD.device)].float()
        tokens_3T = torch.stack([batch.documents_BC, batch.starts_BC, batch.ends_BC])[:, batch.mask_BC].long()
        half_of = {ordinal: half_of_document(document.id) for ordinal, document in batch.documents.items()}
        half_T = torch.tensor([half_of[ordinal] for ordinal in tokens_3T[0].tolist()])
        for number, half in enumerate(halves):
            mine_T = half_T == number
            if mine_T.any():
                _grow(half, batch, tokens_3T[:, mine_T], x_TD[mine_T.to(x_TD.device)], dictionaries)
        task.advance(min(len(x_TD), tokens - read))
        read += len(x_TD)
        if read >= tokens:
            break
    first, second = (_finish(half, dictionaries, concepts) for half in halves)
    return first, second


def half_of_document(document_id: str) -> int:
    """0: latents are chosen on it; 1: they are scored on it. The same for all pieces of a document."""
    return derive_seed(0, "half", whole_id(document_id)) % 2


def _grow(
    half: _Growing,
    batch: TokenBatch,
    tokens_3T: torch.Tensor,
    x_TD: torch.Tensor,
    dictionaries: Mapping[str, SparseAutoencoder],
) -> None:
    half.tokens.append(tokens_3T)
    half.documents |= {ordinal: batch.documents[ordinal] for ordinal in set(tokens_3T[0].tolist())}
    for name, dictionary in dictionaries.items():
        codes = dictionary.encode(x_TD.to(dictionary.device))
        half.codes[name].append(
            SparseCodes(codes.offsets.cpu(), codes.latents.cpu(), codes.values.cpu(), codes.num_latents)
        )


def _finish(half: _Growing, dictionaries: Mapping[str, SparseAutoencoder], concepts: Sequence[Concept]) -> Half:
    tokens_3T = torch.cat([torch.empty(3, 0, dtype=torch.int64), *half.tokens], dim=1).numpy()
    positive_CT = np.zeros((len(concepts), tokens_3T.shape[1]), dtype=np.bool_)
    judged_CT = np.zeros_like(positive_CT)
    order = np.argsort(tokens_3T[0], kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(tokens_3T[0][order])) + 1):
        if len(rows):
            document = half.documents[int(tokens_3T[0, rows[0]])]
            positive_CT[:, rows], judged_CT[:, rows] = label(document, tokens_3T[1, rows], tokens_3T[2, rows], concepts)
    names = frozenset(document.id for document in half.documents.values())
    nothing = {name: [SparseCodes.from_dense(torch.zeros(0, item.num_latents))] for name, item in dictionaries.items()}
    return Half(LabelledTokens(positive_CT, judged_CT, names), nothing | half.codes)
