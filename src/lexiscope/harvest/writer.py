"""Writing a store's files as rows come in. Memory does not grow with the store, apart from one entry per document.

A harvest that was broken off goes on from what a `state` says: how many rows, the files of activations that are whole,
how far the others are, and the sums behind the statistics. The columns are not kept for that: they come from the text
alone, which is read again, and must come out the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.checkpoint import Checkpoint
from lexiscope.core.disk import FileEntry, flush
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.documents import DocumentInfo, hold_out_enough, write_documents
from lexiscope.harvest.layout import DOCUMENTS, STATISTICS, TENSOR, column_name, make_folders, shard_name
from lexiscope.harvest.rows import COLUMNS, Rows
from lexiscope.harvest.statistics import RunningStatistics, save_statistics
from lexiscope.harvest.tensorfile import Position, TensorWriter
from lexiscope.text.document import Document, is_heldout


class ShardWriter:
    """Cuts the rows of one hook point into files of ``shard_tokens`` rows.

    Attributes:
        finished: size and hash of the files that are whole, by name.
    """

    def __init__(
        self,
        path: Path,
        hook: HookPoint,
        width: int,
        dtype: torch.dtype,
        shard_tokens: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = path
        self._hook = hook
        self._width = width
        self._dtype = dtype
        self._shard_tokens = shard_tokens
        self.finished: dict[str, FileEntry] = {}
        if state is not None:
            self.finished = {name: FileEntry(*entry) for name, entry in state["finished"].items()}
            for name, entry in self.finished.items():
                if not (path / name).is_file() or (path / name).stat().st_size != entry.bytes:
                    raise ArtifactError(
                        f"{path / name} is missing or damaged, so the harvest can't go on; remove {path.parent}"
                    )
        self._shard = self._next(None if state is None else Position(*state["open"]))

    def append(self, x_TD: Tensor) -> None:
        while len(x_TD):
            if self._shard.num_rows == self._shard_tokens:
                self._finish()
                self._shard = self._next()
            room = self._shard_tokens - self._shard.num_rows
            self._shard.append(x_TD[:room])
            x_TD = x_TD[room:]

    def state(self) -> dict[str, Any]:
        """For another writer to go on, ready for JSON. What it speaks of is on the disk."""
        return {"finished": dict(self.finished), "open": self._shard.position()}

    def finish(self) -> dict[str, FileEntry]:
        """End the last file. Returns what is known of all of them."""
        self._finish()
        return self.finished

    def close(self) -> None:
        self._shard.close()

    def _finish(self) -> None:
        name = shard_name(self._hook, len(self.finished))
        self.finished[name] = self._shard.finish()
        flush(self._path / name)

    def _next(self, after: Position | None = None) -> TensorWriter:
        path = self._path / shard_name(self._hook, len(self.finished))
        return TensorWriter(path, TENSOR, self._dtype, (self._width,), expected_rows=self._shard_tokens, after=after)


class StoreWriter:
    """Writes everything in a store's folder but the manifest.

    Args:
        tokens: rows that are expected.
        after: a checkpoint made from a `state`. Rows before it must come again, without activations.

    Raises:
        ArtifactError: files that the checkpoint speaks of are missing or damaged.
    """

    def __init__(
        self,
        path: Path,
        widths: Mapping[HookPoint, int],
        dtype: torch.dtype,
        shard_tokens: int,
        *,
        tokens: int = 0,
        after: Checkpoint | None = None,
    ) -> None:
        self._num_tokens = 0
        self._path = path
        self._after = after
        self._statistics = {hook: RunningStatistics(width) for hook, width in widths.items()}
        self._documents: list[DocumentInfo] = []
        self._read = hashlib.sha256()
        make_folders(path, list(widths))
        states = {} if after is None else after.values["shards"]
        self._shards = {
            hook: ShardWriter(path, hook, width, dtype, shard_tokens, states.get(str(hook)))
            for hook, width in widths.items()
        }
        self._columns = {
            name: TensorWriter(path / column_name(name), name, torch.int32, expected_rows=tokens) for name in COLUMNS
        }
        if after is not None:
            for hook, running in self._statistics.items():
                names = ("sum_D", "square_sum_D", "norms")
                running.restore({name: after.tensors[f"{hook}/{name}"] for name in names})

    @property
    def first_row(self) -> int:
        """Rows whose activations are there already."""
        return 0 if self._after is None else int(self._after.values["rows"])

    def append(self, rows: Rows) -> None:
        """Add rows.

        Raises:
            InputError: the rows before the checkpoint are not those that were read then.
        """
        for hook, x_TD in rows.activations.items():
            self._statistics[hook].add(x_TD)
            self._shards[hook].append(x_TD.cpu())
        for name, column_T in rows.columns.items():
            self._columns[name].append(column_T)
            self._read.update(column_T.contiguous().numpy().data)
        ordinals, counts = torch.unique(rows.columns["documents"], return_counts=True)
        for ordinal, count in zip(ordinals.tolist(), counts.tolist(), strict=True):
            if ordinal == len(self._documents):
                self._documents.append(_info(rows.documents[ordinal]))
            known = self._documents[ordinal]
            self._documents[ordinal] = known._replace(tokens=known.tokens + count)
        self._num_tokens += len(rows)
        if self._num_tokens >= self.first_row and self._after is not None:
            if self._num_tokens > self.first_row or self._read.hexdigest() != self._after.values["columns_sha256"]:
                raise self._other_text()
            self._after = None

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """For a checkpoint after the rows that have come."""
        tensors = {
            f"{hook}/{name}": tensor
            for hook, running in self._statistics.items()
            for name, tensor in running.state().items()
        }
        return tensors, {
            "rows": self._num_tokens,
            "columns_sha256": self._read.hexdigest(),
            "shards": {str(hook): shard.state() for hook, shard in self._shards.items()},
        }

    def finish(self) -> tuple[dict[str, Any], dict[str, FileEntry]]:
        """End all files; at least one row must have come. Returns notes for the manifest, and what is known of files.

        Raises:
            InputError: fewer rows came than before the checkpoint.
        """
        if self._after is not None:
            raise self._other_text()
        statistics = {hook: running.finish() for hook, running in self._statistics.items()}
        save_statistics(self._path / STATISTICS, statistics)
        documents, heldout_share = hold_out_enough(self._documents)
        write_documents(self._path / DOCUMENTS, documents)
        known = {column_name(name): column.finish() for name, column in self._columns.items()}
        for shard in self._shards.values():
            known |= shard.finish()
        notes = {
            "num_tokens": self._num_tokens,
            "num_documents": len(documents),
            "heldout_share": heldout_share,
            "heldout_tokens": sum(document.tokens for document in documents if document.heldout),
            "statistics": {str(hook): site.summary() for hook, site in statistics.items()},
        }
        return notes, known

    def _other_text(self) -> InputError:
        return InputError(
            "the corpus or its tokens are not what they were when this harvest was interrupted; bring the text back, "
            f"or remove {self._path.parent} to start again"
        )

    def close(self) -> None:
        """Let go of the files, whole or not."""
        for shard in self._shards.values():
            shard.close()
        for column in self._columns.values():
            column.close()


def _info(document: Document) -> DocumentInfo:
    """Without the text, and with no tokens yet."""
    return DocumentInfo(document.id, document.kind, document.licence, 0, is_heldout(document.id))
