"""ActivationStream: activations live from the model, with the reading interface of a store and nothing on disk.

T tokens, D model width.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.errors import CorpusError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import derive_seed, generator
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
        skip_tokens: int = 0,
    ) -> Iterator[Tensor]:
        """Shuffled rows, float32 [batch_tokens, D], on the model's device; only the last batch may be shorter.

        Each row of the split comes once per epoch. The corpus is read in pieces of half the buffer; a random half of
        each is given together with what the piece before it left, so that rows of far documents meet; still, the mixing
        is local in the corpus, unlike that of a store.

        Args:
            epochs: passes over the corpus; None goes on without end.
            buffer_tokens: rows held in memory, beside one batch of contexts.
            skip_tokens: go on after this many rows of the stream, exactly as a reader that had given them. The text
                before them is read again, the model runs again on two pieces at most.

        Raises:
            CorpusError: the split has no token.
        """
        parts = self._parts(HookPoint.parse(hook), seed, split, epochs, max(1, buffer_tokens // 2), skip_tokens)
        return rebatch(parts, batch_tokens)

    def _parts(
        self, hook: HookPoint, seed: int, split: Split, epochs: int | None, piece_tokens: int, skip: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows and the order in which to give them."""
        first = 0
        if skip:
            rows = sum(map(len, self._rows([hook], split, first_row=sys.maxsize)))
            if not rows:
                raise self._nothing(split)
            first, skip = divmod(skip, rows)
        for epoch in count(first) if epochs is None else range(first, epochs):
            for x_TD, order_T in self._epoch(hook, split, derive_seed(seed, "stream", epoch), piece_tokens, skip):
                if skip < len(order_T):
                    yield x_TD, order_T[skip:]
                skip = max(0, skip - len(order_T))

    def _epoch(
        self, hook: HookPoint, split: Split, seed: int, piece_tokens: int, skip: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One round per piece, and a last one for what is left over.

        Rounds that lie within the first ``skip`` rows come with their order but without rows.
        """
        now = (piece_tokens + 1) // 2
        rounds_skipped = 0 if skip < now else 1 + (skip - now) // piece_tokens
        wanted = max(0, rounds_skipped - 1) * piece_tokens
        left_TD: Tensor | None = None
        number = -1
        for number, piece_TD in enumerate(self._pieces(hook, split, piece_tokens, wanted)):
            given_T, kept_T = _halves(len(piece_TD), generator(seed, "halves", number))
            part_TD = piece_TD[given_T.to(piece_TD.device)]
            both_TD = part_TD if left_TD is None else _stack(left_TD, part_TD)
            yield both_TD, _order(len(both_TD), seed, number, both_TD.device)
            left_TD = piece_TD[kept_T.to(piece_TD.device)]
        if left_TD is None:
            raise self._nothing(split)
        yield left_TD, _order(len(left_TD), seed, number + 1, left_TD.device)

    def _pieces(self, hook: HookPoint, split: Split, piece_tokens: int, first_row: int) -> Iterator[Tensor]:
        """The rows of the split in order, ``piece_tokens`` at a time. Those before ``first_row`` are empty: [n, 0]."""
        waiting: list[Tensor] = []
        missing = piece_tokens
        position = 0
        for rows in self._rows([hook], split, first_row=first_row):
            x_TD = rows.activations.get(hook, torch.empty(len(rows), 0))
            while len(x_TD):
                taken_TD, x_TD = x_TD[:missing], x_TD[missing:]
                # A batch that reaches over the first row wanted was run as a whole.
                waiting.append(taken_TD if position >= first_row else taken_TD[:, :0])
                position += len(taken_TD)
                missing -= len(taken_TD)
                if missing == 0:
                    yield torch.cat(waiting)
                    waiting, missing = [], piece_tokens
        if waiting:
            yield torch.cat(waiting)

    def _rows(self, hooks: Sequence[HookPoint], split: Split, first_row: int = 0) -> Iterator[Rows]:
        documents = (
            document
            for document in self._corpus.documents()
            if split == "all" or is_heldout(document.id) == (split == "heldout")
        )
        batches = pack_for(self._model, documents, context=self._context, batch=self._batch)
        return read_rows(self._model, batches, hooks, torch.float32, first_row=first_row)

    def _nothing(self, split: Split) -> CorpusError:
        return CorpusError(f"the corpus has no {split} token; give more or longer documents")

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


def _halves(length: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random half of the indices, rounded up, and the others."""
    order = torch.randperm(length, generator=random)
    return order[: (length + 1) // 2], order[(length + 1) // 2 :]


def _stack(one_TD: Tensor, other_TD: Tensor) -> Tensor:
    """One above the other; without columns if either is."""
    width = min(one_TD.shape[1], other_TD.shape[1])
    return torch.cat([one_TD[:, :width].to(other_TD.device), other_TD[:, :width]])


def _order(length: int, seed: int, number: int, device: torch.device) -> Tensor:
    return torch.randperm(length, generator=generator(seed, "round", number)).to(device)
