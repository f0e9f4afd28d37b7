"""Seen: some excerpts as a model and a dictionary see them, for what is fitted on activations.

T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import Progress
from lexiscope.index.live.contexts import Contexts, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.experiments.excerpts import Excerpt

AT_ONCE = 16
"""Excerpts that the model reads side by side."""


class Seen(NamedTuple):
    """The first excerpts as the model and the dictionary see them."""

    x_TD: Tensor
    """Where the dictionary writes."""
    codes: SparseCodes
    next_T: Tensor
    """The token that follows each; -1 where the text ends."""
    excerpts: int
    """How many, each cut where the model has no more positions."""


@torch.no_grad()
def see(
    model: LanguageModel,
    sae: SparseAutoencoder,
    reads: Sequence[HookPoint],
    hook: HookPoint,
    excerpts: Sequence[Excerpt],
    tokens: int,
    progress: Progress,
) -> Seen:
    """Read excerpts from the first on, until there are so many tokens.

    Args:
        hook: where the dictionary writes.
    """
    parts: list[tuple[Tensor, SparseCodes, Tensor]] = []
    room, seen, count = model.max_context - 1, 0, 0
    with progress.task("Reading activations", total=tokens, unit="tokens") as task:
        for start in range(0, len(excerpts), AT_ONCE):
            batch = [each.ids for each in excerpts[start : start + AT_ONCE]]
            contexts = Contexts.of(model, [ids[:room] for ids in batch])
            at = model.read(contexts.tokens_BC, list(dict.fromkeys([*reads, hook])), contexts.attention_BC)
            codes = encode(sae, contexts.side_by_side(at, reads))
            x_TD = contexts.side_by_side(at, [hook]).cpu()
            following = torch.tensor([token for ids in batch for token in [*ids[1:room], -1]])
            parts.append((x_TD, codes, following))
            seen, count = seen + len(batch), count + len(x_TD)
            task.advance(len(x_TD))
            if count >= tokens:
                break
    x, every, next_tokens = zip(*parts, strict=True)
    return Seen(torch.cat(x), SparseCodes.concat(every), torch.cat(next_tokens), seen)
