"""ActivationStream: activations live from the model, with the reading interface of a store and nothing on disk.

T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.errors import CorpusError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import generator
from lexiscope.harvest.rows import Rows, pack_for, read_rows, resolve_hooks
from lexiscope.harvest.shuffle import rebatch
from lexiscope.harvest.statistics import RunningStatistics, SiteStatistics
from lexiscope.lm.model import LanguageModel
from lexiscope.text.corpus import Corpus, Split
from lexiscope.text.document import is_heldout

STATISTICS_TOKENS = 1 << 16
"""Statistics come from about this many tokens: enough for means with a standard error of 1/256 of the spread."""

BUFFER_TOKENS = 1 << 16
"""Rows in the shuffle buffer: 64 MiB at width 256 in float32."""


class ActivationStream:
    """Runs the model whenever its shuffle buffer needs rows. Every pass over the corpus runs the model again.

    Args:
        context: tokens per context, BOS included.
        batch: contexts per forward pass.

    Raises:
        InputError: a hook point that the model does not have, or a context too long for it.
    """

    def __init__(
        self,
        model: LanguageModel,
        corpus: Corpus,
        hooks: Sequence[HookPoint | str],
        *,
        context: int = 256,
        batch: int = 32,
    ) -> None:
        self.hooks = resolve_hooks(model, hooks)
        self._model = model
        self._corpus = corpus
        self._context = context
        self._batch = batch

    def describe(self) -> dict[str, Any]:
        """For manifests, as a store's ``sources``: the model, and the corpus as far as it was read in the last pass."""
        return {"model": self._model.describe(), "corpus": self._corpus.describe()}

    def width(self, hook: HookPoint | str) -> int:
        return self._model.width_at(HookPoint.parse(hook))

    def statistics(self, hook: HookPoint | str) -> SiteStatistics:
        """From the first `STATISTICS_TOKENS` tokens of the corpus; all hook points are measured in one pass."""
        return self._statistics[HookPoint.parse(hook)]

    def batches(
        self,
        hook: HookPoint | str,
        *,
        batch_tokens: int,
        seed: int,
        split: Split = "train",
        epochs: int | None = None,
        buffer_tokens: int = BUFFER_TOKENS,
    ) -> Iterator[Tensor]:
        """Shuffled rows, float32 [batch_tokens, D], on the model's device; only the last batch may be shorter.

        Each row of the split comes once per epoch. Half of the full buffer is given, then it is filled up again, so
        that rows of far documents meet; still, the mixing is local in the corpus, unlike that of a store.

        Args:
            epochs: passes over the corpus; None goes on without end.
            buffer_tokens: rows held in memory, beside one batch of contexts.

        Raises:
            CorpusError: the split has no token.
        """
        point = HookPoint.parse(hook)
        return rebatch(self._parts(point, seed, split, epochs, buffer_tokens), batch_tokens)

    def _parts(
        self, hook: HookPoint, seed: int, split: Split, epochs: int | None, buffer_tokens: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Buffer and the rows to take from it, which the caller must copy before asking for more."""
        for epoch in count() if epochs is None else range(epochs):
            random = generator(seed, "stream", epoch)
            buffer_TD, filled = torch.empty(0), 0
            for rows in self._rows([hook], split):
                x_TD = rows.activations[hook]
                if not len(buffer_TD):
                    buffer_TD = x_TD.new_empty(buffer_tokens, x_TD.shape[1])
                while len(x_TD):
                    taken_TD, x_TD = x_TD[: buffer_tokens - filled], x_TD[buffer_tokens - filled :]
                    buffer_TD[filled : filled + len(taken_TD)] = taken_TD
                    filled += len(taken_TD)
                    if filled == buffer_tokens:
                        given_T, kept_T = _halves(buffer_tokens, random, x_TD.device)
                        yield buffer_TD, given_T
                        filled = len(kept_T)
                        buffer_TD[:filled] = buffer_TD[kept_T]
            if not len(buffer_TD):
                raise CorpusError(f"the corpus has no {split} token; give more or longer documents")
            yield buffer_TD, torch.randperm(filled, generator=random).to(buffer_TD.device)

    def _rows(self, hooks: Sequence[HookPoint], split: Split) -> Iterator[Rows]:
        documents = (
            document
            for document in self._corpus.documents()
            if split == "all" or is_heldout(document.id) == (split == "heldout")
        )
        batches = pack_for(self._model, documents, context=self._context, batch=self._batch)
        return read_rows(self._model, batches, hooks, torch.float32)

    @cached_property
    def _statistics(self) -> dict[HookPoint, SiteStatistics]:
        running = {hook: RunningStatistics(self.width(hook)) for hook in self.hooks}
        tokens = 0
        for rows in self._rows(self.hooks, "all"):
            for hook, x_TD in rows.activations.items():
                running[hook].add(x_TD)
            tokens += len(rows)
            if tokens >= STATISTICS_TOKENS:
                break
        if not tokens:
            raise CorpusError("the corpus has no token; give more or longer documents")
        return {hook: site.finish() for hook, site in running.items()}


def _halves(length: int, random: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """A random half of the indices, rounded up, and the others."""
    order = torch.randperm(length, generator=random).to(device)
    return order[: (length + 1) // 2], order[(length + 1) // 2 :]
