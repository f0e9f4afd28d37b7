"""Collect: encode a store and keep its firings as runs, on disk when there are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.checkpoint import Checkpoint, Checkpoints
from lexiscope.core.errors import DiskError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import Progress
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.concordance.firings import Gathering, Run
from lexiscope.index.concordance.sample import Sample, Sampling
from lexiscope.index.config import IndexConfig
from lexiscope.saes.base import SparseAutoencoder

CHUNK_TOKENS = 8192
"""Rows that are encoded together, the same whoever encodes them: last bits may depend on what else is in a batch."""
_FEW_CODES = 1 << 22


class Collected(NamedTuple):
    """All firings of an autoencoder on the rows of a store, and the codes of a sample of the rows."""

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
    rows: range | None = None,
) -> Collected:
    """Encode a store, its ``hooks`` side by side, in one pass; goes on after the rows that checkpoints hold.

    Args:
        rows: only these, from a multiple of `CHUNK_TOKENS` on; None: all.
    """
    rows = range(store.num_tokens) if rows is None else rows
    gathering = Gathering(sae.num_latents, config.activation_bits)
    found = list(_chain(checkpoints, rows.start))
    begin = saved = found[-1].number if found else rows.start
    sampling = Sampling(config.sampled_codes, [Sample.of_tensors(checkpoint.tensors) for checkpoint in found])

    def save(end: int) -> None:
        nonlocal saved
        sample = sampling.sample().since(saved)
        checkpoints.save(end, {**gathering.take().tensors(), **sample.tensors()}, {"begin": saved})
        saved = end

    with progress.task("Encoding", len(rows), "tokens") as task:
        task.advance(begin - rows.start)
        for chunks in zip(*(store.chunks(hook, chunk_tokens=CHUNK_TOKENS, start=begin) for hook in hooks), strict=True):
            if chunks[0].start >= rows.stop:
                break
            x_TD = torch.cat([chunk.x_TD for chunk in chunks], dim=1)
            with torch.inference_mode():
                codes = sae.encode(x_TD).fired()
            gathering.add(codes, chunks[0].start)
            sampling.add(codes, chunks[0].start)
            end = chunks[0].start + len(x_TD)
            task.advance(len(x_TD))
            if len(gathering) >= config.firings_at_once or (end < rows.stop and checkpoints.due(end)):
                save(end)
    if saved == rows.start:
        return Collected([gathering.take()], sampling.sample())
    if saved < rows.stop:
        save(rows.stop)
    # Mapped from the checkpoints, they take no memory.
    found = list(_chain(checkpoints, rows.start))
    if not found or found[-1].number < rows.stop:
        raise DiskError(f"{checkpoints.folder} can't be read back; check the disk and give the same command again")
    return Collected([Run.of_tensors(checkpoint.tensors) for checkpoint in found], sampling.sample())


def joined(parts: Sequence[Collected], config: IndexConfig) -> Collected:
    """All of an index, of rows that follow one another, in one or many; its sample is cut to what the whole allows."""
    runs = [run for part in parts for run in part.runs]
    most = min(config.sampled_codes, max(_FEW_CODES, sum(len(run.rows) for run in runs) // 4))
    return Collected(runs, Sample.joined([part.sample for part in parts], most))


def _chain(checkpoints: Checkpoints, begin: int) -> Iterator[Checkpoint]:
    """Those that follow on one another from a row on. Others are left from before one of these was damaged."""
    end = begin
    for checkpoint in checkpoints.all():
        if checkpoint.values["begin"] == end:
            end = checkpoint.number
            yield checkpoint
