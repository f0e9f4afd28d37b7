"""Writing a store's files as rows come in. Memory does not grow with the store, apart from one entry per document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.documents import DocumentInfo, hold_out_enough, write_documents
from lexiscope.harvest.layout import DOCUMENTS, STATISTICS, TENSOR, column_name, make_folders, shard_name
from lexiscope.harvest.rows import COLUMNS, Rows
from lexiscope.harvest.statistics import RunningStatistics, save_statistics
from lexiscope.harvest.tensorfile import TensorWriter
from lexiscope.text.document import Document, is_heldout


class ShardWriter:
    """Cuts the rows of one hook point into files of ``shard_tokens`` rows."""

    def __init__(self, path: Path, hook: HookPoint, width: int, dtype: torch.dtype, shard_tokens: int) -> None:
        self._path = path
        self._hook = hook
        self._width = width
        self._dtype = dtype
        self._shard_tokens = shard_tokens
        self._num_shards = 0
        self._shard = self._next()

    def append(self, x_TD: Tensor) -> None:
        while len(x_TD):
            if self._shard.num_rows == self._shard_tokens:
                self._shard.close()
                self._shard = self._next()
            room = self._shard_tokens - self._shard.num_rows
            self._shard.append(x_TD[:room])
            x_TD = x_TD[room:]

    def close(self) -> None:
        self._shard.close()

    def _next(self) -> TensorWriter:
        path = self._path / shard_name(self._hook, self._num_shards)
        self._num_shards += 1
        return TensorWriter(path, TENSOR, self._dtype, (self._width,))


class StoreWriter:
    """Writes everything in a store's folder but the manifest."""

    def __init__(self, path: Path, widths: Mapping[HookPoint, int], dtype: torch.dtype, shard_tokens: int) -> None:
        self._num_tokens = 0
        self._path = path
        self._statistics = {hook: RunningStatistics(width) for hook, width in widths.items()}
        self._documents: list[DocumentInfo] = []
        make_folders(path, list(widths))
        self._shards = {hook: ShardWriter(path, hook, width, dtype, shard_tokens) for hook, width in widths.items()}
        self._columns = {name: TensorWriter(path / column_name(name), name, torch.int32) for name in COLUMNS}

    def append(self, rows: Rows) -> None:
        for hook, x_TD in rows.activations.items():
            self._statistics[hook].add(x_TD)
            self._shards[hook].append(x_TD.cpu())
        for name, column_T in rows.columns.items():
            self._columns[name].append(column_T)
        ordinals, counts = torch.unique(rows.columns["documents"], return_counts=True)
        for ordinal, count in zip(ordinals.tolist(), counts.tolist(), strict=True):
            if ordinal == len(self._documents):
                self._documents.append(_info(rows.documents[ordinal]))
            known = self._documents[ordinal]
            self._documents[ordinal] = known._replace(tokens=known.tokens + count)
        self._num_tokens += len(rows)

    def finish(self) -> dict[str, Any]:
        """Write documents and statistics; at least one row must have come. Returns notes for the manifest."""
        statistics = {hook: running.finish() for hook, running in self._statistics.items()}
        save_statistics(self._path / STATISTICS, statistics)
        documents, heldout_share = hold_out_enough(self._documents)
        write_documents(self._path / DOCUMENTS, documents)
        return {
            "num_tokens": self._num_tokens,
            "num_documents": len(documents),
            "heldout_share": heldout_share,
            "heldout_tokens": sum(document.tokens for document in documents if document.heldout),
            "statistics": {str(hook): site.summary() for hook, site in statistics.items()},
        }

    def close(self) -> None:
        """End the files; without this call they are not whole."""
        for shard in self._shards.values():
            shard.close()
        for column in self._columns.values():
            column.close()


def _info(document: Document) -> DocumentInfo:
    """Without the text, and with no tokens yet."""
    return DocumentInfo(document.id, document.kind, document.licence, 0, is_heldout(document.id))
