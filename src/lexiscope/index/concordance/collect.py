"""Collect: encode a store and keep its firings as runs, on disk when there are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.checkpoint import Checkpoints
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import Progress
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.concordance.firings import Gathering, Run
from lexiscope.index.concordance.sample import Sample
from lexiscope.index.config import IndexConfig
from lexiscope.saes.base import SparseAutoencoder

_SAMPLES_AT_ONCE = 64


class Collected(NamedTuple):
    """All firings of an autoencoder on some rows of a store, and the codes of a sample of the rows."""

    runs: list[Run]
    sample: Sample

    @property
    def counts_F(self) -> NDArray[np.int64]:
        """How often each latent fires."""
        counts_F: NDArray[np.int64] = np.sum([run.counts_F for run in self.runs], axis=0)
        return counts_F


def collect(
    sae: SparseAutoencoder,
    store: ActivationStore,
    hooks: Sequence[HookPoint],
    config: IndexConfig,
    checkpoints: Checkpoints,
    progress: Progress,
) -> Collected:
    """Encode a store, its ``hooks`` side by side, in one pass; goes on after the rows that checkpoints hold."""
    gathering, recent = Gathering(sae.num_latents), [Sample.empty()]
    begin = max((checkpoint.number for checkpoint in checkpoints.all()), default=0)

    def save(end: int) -> None:
        sample = Sample.joined(recent, config.sampled_codes)
        checkpoints.save(end, {**gathering.take().tensors(), **sample.tensors()}, {})
        recent[:] = [Sample.empty()]

    with progress.task("Encoding", store.num_tokens, "tokens") as task:
        task.advance(begin)
        for chunks in zip(*(store.chunks(hook, start=begin) for hook in hooks), strict=True):
            x_TD = torch.cat([chunk.x_TD for chunk in chunks], dim=1)
            with torch.inference_mode():
                codes = sae.encode(x_TD).fired()
            gathering.add(codes, chunks[0].start)
            recent.append(Sample.of(codes, chunks[0].start, recent[-1].halvings))
            if len(recent) > _SAMPLES_AT_ONCE:
                recent[:] = [Sample.joined(recent, config.sampled_codes)]
            end = chunks[0].start + len(x_TD)
            task.advance(len(x_TD))
            if len(gathering) >= config.firings_at_once or (end < store.num_tokens and checkpoints.due(end)):
                save(end)
    if not checkpoints:
        return Collected([gathering.take()], Sample.joined(recent, config.sampled_codes))
    if len(gathering):
        save(store.num_tokens)
    # Mapped from the checkpoints, they take no memory.
    parts = [checkpoint.tensors for checkpoint in checkpoints.all()]
    sample = Sample.joined([Sample.of_tensors(tensors) for tensors in parts], config.sampled_codes)
    return Collected([Run.of_tensors(tensors) for tensors in parts], sample)
