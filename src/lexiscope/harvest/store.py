"""ActivationStore: activations on disk, with the text that each row comes from.

T tokens (one row each), D model width.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.manifest import MANIFEST
from lexiscope.harvest.documents import DocumentInfo, read_documents
from lexiscope.harvest.dtypes import DTYPES
from lexiscope.harvest.layout import DOCUMENTS, STATISTICS, TENSOR, StoreConfig, column_name, shard_name
from lexiscope.harvest.shuffle import ShuffledOrder, rebatch
from lexiscope.harvest.statistics import SiteStatistics, load_statistics
from lexiscope.harvest.tensorfile import map_tensor
from lexiscope.lm.model import LanguageModel
from lexiscope.text.corpus import Split

BUFFER_TOKENS = 1 << 17
"""Rows in the shuffle buffer: 64 MiB at width 256 in bfloat16, 1 GiB at width 4096."""


class StoreChunk(NamedTuple):
    """Rows ``start``, ``start + 1`` … of a store, float32."""

    start: int
    x_TD: Tensor


class Window(NamedTuple):
    """Tokens around a row, all of its context; ``tokens[offset]`` is the row's own."""

    tokens: NDArray[np.int32]
    offset: int


class ActivationStore:
    """What `harvest` wrote. Rows are in the order the model ran them; those of one context are neighbours.

    Nothing is held in memory but what is being read: activations and columns are memory-mapped. A column, the documents
    and the statistics are checked for damage when they are first used; activations only by ``lexiscope verify``.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        try:
            self._config = StoreConfig.read(dict(artifact.config), str(artifact.path / MANIFEST))
            self.hooks: list[HookPoint] = [HookPoint.parse(hook) for hook in self._config.hooks]
        except InputError as error:
            raise ArtifactError(str(error)) from None
        self._shards: dict[tuple[HookPoint, int], Tensor] = {}

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a store.

        Raises:
            ArtifactError: not a whole store; the message names the file.
        """
        return cls(open_artifact(path, "store"))

    def check_model(self, model: LanguageModel) -> None:
        """Raises InputError: the store was harvested from another model."""
        source = self.artifact.manifest["sources"].get("model", {})
        if source.get("fingerprint") != model.fingerprint:
            raise InputError(
                f"{self.artifact.path} holds activations of {source.get('name')}, not of {model.name}; "
                "harvest this model or name the other one"
            )
        if source.get("tokenizer_fingerprint") != model.tokenizer.fingerprint:
            raise InputError(
                f"the tokenizer of {model.name} has changed since {self.artifact.path} was harvested; harvest again"
            )

    def check_same_model(self, artifact: Artifact) -> None:
        """Raises InputError: the artifact says that it is about another model than this store."""
        own, other = (item.manifest["sources"].get("model", {}) for item in (self.artifact, artifact))
        if other and other.get("fingerprint") != own.get("fingerprint"):
            raise InputError(
                f"{self.artifact.path} holds activations of {own.get('name')}, but {artifact.path} was made from "
                f"{other.get('name')}; name a store of that model"
            )

    # What the rows are

    @property
    def num_tokens(self) -> int:
        return len(self.tokens_T)

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations on disk; they are always given as float32."""
        return DTYPES[self._config.dtype]

    def width(self, hook: HookPoint | str) -> int:
        return self._shard(self._known(hook), 0).shape[1]

    @cached_property
    def tokens_T(self) -> NDArray[np.int32]:
        """Token ids."""
        return self._column("tokens")

    @cached_property
    def documents_T(self) -> NDArray[np.int32]:
        """For each row its document, an index into `documents`."""
        documents_T = self._column("documents")
        if int(documents_T.max()) >= len(self.documents()):
            raise ArtifactError(f"{self.artifact.path} has rows of documents that it does not list; harvest again")
        return documents_T

    @cached_property
    def positions_T(self) -> NDArray[np.int32]:
        """Index of the token in its document."""
        return self._column("positions")

    @cached_property
    def contexts_T(self) -> NDArray[np.int32]:
        """Ordinal of the context, from 0, never falling."""
        contexts_T = self._column("contexts")
        if bool((np.diff(contexts_T) < 0).any()):
            raise ArtifactError(f"{self.artifact.path} has contexts out of order; harvest again")
        return contexts_T

    @cached_property
    def starts_T(self) -> NDArray[np.int32]:
        """First character of the token in its document's text."""
        return self._column("starts")

    @cached_property
    def ends_T(self) -> NDArray[np.int32]:
        """One past its last character."""
        return self._column("ends")

    @cached_property
    def heldout_T(self) -> NDArray[np.bool_]:
        """Whether the row's document is held out (about one in ten, by hash of its id)."""
        heldout = np.array([document.heldout for document in self.documents()])
        return cast("NDArray[np.bool_]", heldout[self.documents_T])

    def documents(self) -> list[DocumentInfo]:
        return self._documents

    def statistics(self, hook: HookPoint | str) -> SiteStatistics:
        path = self.artifact.checked_file(STATISTICS)
        found = load_statistics(path, self._known(hook))
        if len(found.mean_D) != self.width(hook):
            raise ArtifactError(f"{path} is of another width than the activations at {hook}; harvest again")
        return found

    def window(self, row: int, before: int, after: int) -> Window:
        """Up to ``before`` tokens before a row and ``after`` after it, within its context."""
        if not 0 <= row < self.num_tokens:
            raise IndexError(f"row {row} is not among the {self.num_tokens} rows")
        first = max(0, row - before)
        inside = self.contexts_T[first : row + after + 1] == self.contexts_T[row]
        start = first + int(inside.argmax())
        return Window(self.tokens_T[start : start + int(inside.sum())], row - start)

    # Reading activations

    def rows(self, hook: HookPoint | str, indices: ArrayLike | Tensor) -> Tensor:
        """Rows in the order asked for, repeats allowed: float32 [n, D].

        Raises:
            IndexError: there is no such row.
        """
        rows_T = np.asarray(indices, np.int64).reshape(-1)
        if len(rows_T) and (rows_T.min() < 0 or rows_T.max() >= self.num_tokens):
            raise IndexError(f"rows run from 0 to {self.num_tokens - 1}")
        return self._gather(self._known(hook), rows_T).float()

    def chunks(self, hook: HookPoint | str, *, chunk_tokens: int = 8192, start: int = 0) -> Iterator[StoreChunk]:
        """All rows in order, from ``start`` on."""
        for first in range(start, self.num_tokens, chunk_tokens):
            stop = min(first + chunk_tokens, self.num_tokens)
            yield StoreChunk(first, self._gather(self._known(hook), np.arange(first, stop)).float())

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
        """Shuffled rows, float32 [batch_tokens, D]; only the last batch may be shorter.

        Each row of the split comes once per epoch. All hook points give the same rows for the same arguments.

        Args:
            epochs: None goes on without end.
            buffer_tokens: rows held in memory, in the dtype of the store.
            skip_tokens: go on after this many rows of the stream, exactly as a reader that had given them.

        Raises:
            InputError: the split has no rows.
        """
        known = self._known(hook)
        wanted_T = np.ones(self.num_tokens, bool) if split == "all" else self.heldout_T == (split == "heldout")
        rows_T = np.flatnonzero(wanted_T)
        if not len(rows_T):
            raise InputError(f"{self.artifact.path} has no {split} rows; harvest more documents")
        order = ShuffledOrder(rows_T, buffer_tokens=buffer_tokens, seed=seed)
        refills = order.refills(epochs=epochs, skip_tokens=skip_tokens)
        return rebatch(((self._gather(known, refill.rows_T), refill.order_T) for refill in refills), batch_tokens)

    # Files

    @cached_property
    def _documents(self) -> list[DocumentInfo]:
        return read_documents(self.artifact.checked_file(DOCUMENTS), at_most=self.num_tokens)

    def _known(self, hook: HookPoint | str) -> HookPoint:
        point = HookPoint.parse(hook)
        if point not in self.hooks:
            held = ", ".join(map(str, self.hooks))
            raise InputError(f"{self.artifact.path} holds {held}, not {point}; choose one of these or harvest {point}")
        return point

    def _column(self, name: str) -> NDArray[np.int32]:
        path = self.artifact.checked_file(column_name(name))
        column = map_tensor(path, name)
        if column.ndim != 1 or column.dtype != torch.int32 or int(column.min()) < 0:
            raise ArtifactError(f"{path} holds no column of a store; harvest again")
        if name != "tokens" and len(column) != self.num_tokens:
            raise ArtifactError(f"{path} has {len(column)} rows, not {self.num_tokens}; harvest again")
        return cast("NDArray[np.int32]", column.numpy())

    def _gather(self, hook: HookPoint, rows_T: NDArray[np.int64]) -> Tensor:
        """Rows [n, D] in the dtype of the store, copied out of the memory maps."""
        shards_T, within_T = np.divmod(rows_T, self._config.shard_tokens)
        x_TD = torch.empty(len(rows_T), self.width(hook), dtype=self.dtype)
        by_shard_T = shards_T.argsort(kind="stable")
        numbers, firsts = np.unique(shards_T[by_shard_T], return_index=True)
        for number, chosen_T in zip(numbers.tolist(), np.split(by_shard_T, firsts[1:]), strict=False):
            x_TD[torch.from_numpy(chosen_T)] = self._shard(hook, number)[torch.from_numpy(within_T[chosen_T])]
        return x_TD

    def _shard(self, hook: HookPoint, number: int) -> Tensor:
        if (hook, number) not in self._shards:
            path = self.artifact.file(shard_name(hook, number))
            shard_TD = map_tensor(path, TENSOR)
            rows = min(self._config.shard_tokens, self.num_tokens - number * self._config.shard_tokens)
            width = self._shard(hook, 0).shape[1] if number else shard_TD.shape[-1]
            if shard_TD.shape != (rows, width) or shard_TD.dtype != self.dtype:
                raise ArtifactError(f"{path} does not fit the manifest; harvest again")
            self._shards[hook, number] = shard_TD
        return self._shards[hook, number]
