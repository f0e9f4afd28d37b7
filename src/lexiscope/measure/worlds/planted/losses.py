"""How well models do on ordinary text, document by document, so that two of them can be compared. K documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.seeds import generator
from lexiscope.lm.finetuning import cross_entropy
from lexiscope.lm.model import LanguageModel
from lexiscope.text.pack import TokenBatch

RESAMPLES = 1000


class Apart(NamedTuple):
    """How much larger one loss is than another, as a share of that: 0.01 is one per cent."""

    value: float
    low: float
    high: float
    """95 % bootstrap interval: documents are redrawn, for both the same."""


@torch.no_grad()
def summed_losses(model: LanguageModel, batches: Sequence[TokenBatch]) -> Tensor:
    """Cross-entropy summed over the tokens of each document, nats, float64 [K]."""
    losses_N = torch.cat([cross_entropy(model, batch).double().cpu() for batch in batches])
    documents_N = documents(batches)
    return torch.zeros(int(documents_N.max()) + 1, dtype=torch.float64).index_add_(0, documents_N, losses_N)


def apart(one_K: Tensor, other_K: Tensor, seed: int = 0) -> Apart:
    """Of two models on the same text: (one - other) / other."""
    read_K = other_K > 0
    one_K, other_K = one_K[read_K], other_K[read_K]
    drawn_RK = torch.randint(len(one_K), (RESAMPLES, len(one_K)), generator=generator(seed, "documents"))
    ratios_R = one_K[drawn_RK].sum(1) / other_K[drawn_RK].sum(1)
    low, high = (ratios_R - 1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Apart(float(one_K.sum() / other_K.sum()) - 1, low, high)


def documents(batches: Sequence[TokenBatch]) -> Tensor:
    """Of every token that counts, in order, int64 [N]."""
    return torch.cat([batch.documents_BC[:, 1:][batch.mask_BC[:, 1:]] for batch in batches]).long()
