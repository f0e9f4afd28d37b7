"""What training needs from a store of activations, on disk or live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch


class ActivationSource(Protocol):
    """`lexiscope.harvest.store.ActivationStore`, `lexiscope.harvest.stream.ActivationStream`, or anything like them."""

    @property
    def hooks(self) -> Sequence[HookPoint]: ...

    def width(self, hook: HookPoint) -> int: ...

    def batches(
        self,
        hook: HookPoint,
        *,
        batch_tokens: int,
        seed: int,
        split: Literal["train", "heldout", "all"] = "train",
        epochs: int | None = None,
        skip_tokens: int = 0,
    ) -> Iterator[Tensor]:
        """Shuffled float32 [T, D] batches; without ``epochs`` they never end.

        ``skip_tokens``, a multiple of ``batch_tokens``: go on after so many rows as if they had been given.
        """


class Sites(NamedTuple):
    """Which hook points an autoencoder reads and writes; the same for most."""

    reads: tuple[HookPoint, ...]
    writes: tuple[HookPoint, ...]

    def widths(self, source: ActivationSource) -> tuple[list[int], list[int]]:
        """D of each hook point read, and of each written."""
        return [source.width(hook) for hook in self.reads], [source.width(hook) for hook in self.writes]

    def total_widths(self, source: ActivationSource) -> tuple[int, int | None]:
        """D of what is read, and of what is written if that is something else."""
        read, written = self.widths(source)
        return sum(read), None if self.reads == self.writes else sum(written)


Hooks = HookPoint | str | Sequence[HookPoint | str] | None


def choose_sites(source: ActivationSource, reads: Hooks, writes: Hooks = None) -> Sites:
    """The hook points asked for, or the only one there is; what is read is also written unless said otherwise.

    Raises:
        InputError: the source has no such hook, or several and none was asked for.
    """
    chosen = _choose(source, reads)
    return Sites(chosen, chosen if writes is None else _choose(source, writes))


def _choose(source: ActivationSource, asked: Hooks) -> tuple[HookPoint, ...]:
    have = ", ".join(map(str, source.hooks))
    if asked is None:
        if len(source.hooks) != 1:
            raise InputError(f"this store holds {have}; say which one with hook")
        return (source.hooks[0],)
    hooks = [asked] if isinstance(asked, str | HookPoint) else list(asked)
    points = tuple(HookPoint.parse(hook) for hook in hooks)
    for point in points:
        if point not in source.hooks:
            raise InputError(f"this store holds {have}, not {point}; harvest {point} or choose another hook")
    return points


def batches_at(
    source: ActivationSource,
    sites: Sites,
    *,
    batch_tokens: int,
    seed: int,
    split: Literal["train", "heldout"] = "train",
    epochs: int | None = None,
    skip_batches: int = 0,
) -> Iterator[Batch]:
    """Shuffled batches of what is read and what is written, row by row from the same tokens.

    A source gives the same rows at all its hook points for the same arguments; several stand side by side in D.
    """
    skipped = {"skip_tokens": skip_batches * batch_tokens} if skip_batches else {}
    hooks = list(dict.fromkeys([*sites.reads, *sites.writes]))
    streams = [
        source.batches(hook, batch_tokens=batch_tokens, seed=seed, split=split, epochs=epochs, **skipped)
        for hook in hooks
    ]
    for parts in zip(*streams, strict=True):
        at = dict(zip(hooks, parts, strict=True))
        input_TD = _beside([at[hook] for hook in sites.reads])
        yield Batch(input_TD, input_TD if sites.reads == sites.writes else _beside([at[hook] for hook in sites.writes]))


def _beside(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def take_rows(
    source: ActivationSource, sites: Sites, rows: int, *, seed: int, split: Literal["train", "heldout"]
) -> list[Batch]:
    """Up to that many activations, as batches, from one pass over the split.

    Raises:
        InputError: fewer than two, so that nothing can vary.
    """
    taken: list[Batch] = []
    missing = rows
    for batch in batches_at(source, sites, batch_tokens=min(rows, 4096), seed=seed, split=split, epochs=1):
        part = batch if len(batch.input_TD) <= missing else Batch(*(x_TD[:missing] for x_TD in batch))
        taken.append(Batch.same(part.input_TD) if batch.input_TD is batch.target_TD else part)
        missing -= len(part.input_TD)
        if missing == 0:
            break
    if rows - missing < 2:
        raise InputError(f"the {split} split of this store has {rows - missing} tokens; harvest more text")
    return taken


def join(batches: Sequence[Batch]) -> Batch:
    """All their rows in one."""
    if all(batch.input_TD is batch.target_TD for batch in batches):
        return Batch.same(torch.cat([batch.input_TD for batch in batches]))
    return Batch(torch.cat([b.input_TD for b in batches]), torch.cat([b.target_TD for b in batches]))


def provenance(source: ActivationSource) -> tuple[list[Artifact], dict[str, Any]]:
    """For a manifest: the artifact that is read and what it was made from, or what a live stream says of itself."""
    if (artifact := getattr(source, "artifact", None)) is not None:
        return [artifact], dict(artifact.manifest["sources"])
    describe = getattr(source, "describe", dict)
    return [], describe()
