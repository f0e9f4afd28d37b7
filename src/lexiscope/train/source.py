"""What training needs from a store of activations, on disk or live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

from torch import Tensor

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint


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
    ) -> Iterator[Tensor]:
        """Shuffled float32 [T, D] batches; without ``epochs`` they never end."""


def choose_hook(source: ActivationSource, hook: HookPoint | str | None) -> HookPoint:
    """The hook to train on: the one asked for, or the only one there is.

    Raises:
        InputError: the source has no such hook, or several and none was asked for.
    """
    have = ", ".join(map(str, source.hooks))
    if hook is None:
        if len(source.hooks) != 1:
            raise InputError(f"this store holds {have}; say which one with hook")
        return source.hooks[0]
    hook = HookPoint.parse(hook)
    if hook not in source.hooks:
        raise InputError(f"this store holds {have}, not {hook}; harvest {hook} or choose another hook")
    return hook


def take_rows(
    source: ActivationSource, hook: HookPoint, rows: int, *, seed: int, split: Literal["train", "heldout"]
) -> list[Tensor]:
    """Up to that many activations, as batches, from one pass over the split.

    Raises:
        InputError: fewer than two, so that nothing can vary.
    """
    taken: list[Tensor] = []
    missing = rows
    for x_TD in source.batches(hook, batch_tokens=min(rows, 4096), seed=seed, split=split, epochs=1):
        taken.append(x_TD[:missing])
        missing -= len(taken[-1])
        if missing == 0:
            break
    if rows - missing < 2:
        raise InputError(f"the {split} split of this store has {rows - missing} tokens; harvest more text")
    return taken


def provenance(source: ActivationSource) -> tuple[list[Artifact], dict[str, Any]]:
    """For a manifest: the artifact that is read and what it was made from, or what a live stream says of itself."""
    if (artifact := getattr(source, "artifact", None)) is not None:
        return [artifact], dict(artifact.manifest["sources"])
    describe = getattr(source, "describe", dict)
    return [], describe()
