"""Firings: "latents of each token" turned into "tokens of each latent".

Codes arrive token by token and are sorted by latent whenever enough of them have come together: a run. Runs are merged
for a block of latents at a time, so that nothing has to fit into memory but one run or one block, and neither shows in
the result. N firings, F latents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.codes import SparseCodes
from lexiscope.index.tables.rounding import FLOAT32_BITS, rounded
from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.native import firings as native
from lexiscope.saes.kernels.native.firings import Entries

Rows = NDArray[np.int64]
NarrowRows = NDArray[np.int32] | NDArray[np.int64]
"""int32 where all rows fit, which halves what has to be moved."""
Values = NDArray[np.float32]

_POSITION_BITS = 32
_MOST_LATENTS = 1 << 20


class Firings(NamedTuple):
    """Firings of the latents ``low <= latent < high``, sorted by latent and then by row.

    Attributes:
        offsets: int64 [high - low + 1]; latent f owns the entries ``offsets[f - low]:offsets[f - low + 1]``.
        rows: int32 or int64 [N], ascending within a latent.
        values: float32 [N], activations, never 0.
    """

    low: int
    high: int
    offsets: NDArray[np.int64]
    rows: NarrowRows
    values: Values

    def latents(self) -> NDArray[np.int32]:
        """The latent of every firing: int32 [N]."""
        return np.repeat(np.arange(self.low, self.high, dtype=np.int32), np.diff(self.offsets))

    def pieces(self, at_most: int) -> Iterator[Firings]:
        """The same in ranges of latents with at most so many firings each, or with a single latent."""
        for low, high in ranges(np.diff(self.offsets), at_most):
            span = slice(self.offsets[low], self.offsets[high])
            offsets = self.offsets[low : high + 1] - self.offsets[low]
            yield Firings(self.low + low, self.low + high, offsets, self.rows[span], self.values[span])

    def of(self, latent: int) -> tuple[NarrowRows, Values]:
        """Rows on which one latent fires, ascending, and its activations there."""
        span = slice(self.offsets[latent - self.low], self.offsets[latent - self.low + 1])
        return self.rows[span], self.values[span]


class Run(NamedTuple):
    """All firings of some consecutive rows of the text, sorted by latent and then by row."""

    counts_F: NDArray[np.int64]
    rows: NarrowRows
    values: Values

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        return {f"run/{name}": torch.from_numpy(array) for name, array in self._asdict().items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        return cls(*(tensors[f"run/{name}"].numpy() for name in cls._fields))


class Gathering:
    """Codes as they arrive, in order of rows, until they are made a run.

    Args:
        bits: significant bits of an activation that are kept.
    """

    def __init__(self, num_latents: int, bits: int = FLOAT32_BITS) -> None:
        self._num_latents, self._bits = num_latents, bits
        self._parts: list[Entries] = []
        self._size = 0

    def __len__(self) -> int:
        """How many firings wait."""
        return self._size

    def add(self, codes: SparseCodes, start: int) -> None:
        """Codes of the rows ``start``, ``start + 1`` …; entries of value zero are left out."""
        part = (_native_entries if is_native(start + codes.num_tokens) else _stock_entries)(codes, start, self._bits)
        self._parts.append(part)
        self._size += len(part.rows_N)

    def take(self) -> Run:
        """What has arrived since the last run."""
        parts, self._parts, self._size = self._parts, [], 0
        if is_native() and all(part.rows_N.dtype == torch.int32 for part in parts):
            return Run(*(column.numpy() for column in native.sort(parts, self._num_latents)))
        latents = _joined([part.latents_N.numpy() for part in parts], np.int32)
        rows = _joined([part.rows_N.numpy() for part in parts], np.int32)
        values = _joined([part.values_N.numpy() for part in parts], np.float32)
        return Run(np.bincount(latents, minlength=self._num_latents), *_sorted(latents, rows, values))


def is_native(end: int = 0) -> bool:
    """Whether the compiled kernels serve rows up to ``end``. What follows without them is their oracle."""
    return end <= native.MOST_ROWS and backend.path(torch.empty(0)) == "native"


def _native_entries(codes: SparseCodes, start: int, bits: int) -> Entries:
    latents_N, values_N, offsets_T1 = (
        of.detach().cpu().contiguous() for of in (codes.latents, codes.values, codes.offsets)
    )
    return native.entries(latents_N, values_N.float(), offsets_T1, codes.num_latents, start, bits)


def _stock_entries(codes: SparseCodes, start: int, bits: int) -> Entries:
    codes = codes.fired()
    values_N = torch.from_numpy(rounded(codes.values.float().cpu().numpy(), bits))
    rows_N = torch.repeat_interleave(torch.arange(start, start + codes.num_tokens), codes.counts().cpu())
    narrow = torch.int32 if start + codes.num_tokens <= native.MOST_ROWS else torch.int64
    return Entries(codes.latents.cpu().int(), rows_N.to(narrow), values_N)


def ranges(counts_F: NDArray[np.int64], at_most: int) -> Iterator[tuple[int, int]]:
    """Consecutive latents, at most 2^20 of them, with at most so many firings together; one with more stands alone."""
    ends_F = counts_F.cumsum()
    low = 0
    while low < len(counts_F):
        before = ends_F[low - 1] if low else 0
        high = int(np.searchsorted(ends_F, before + at_most, side="right"))
        high = min(max(low + 1, high), low + _MOST_LATENTS)
        yield low, high
        low = high


def merged(runs: Sequence[Run], low: int, high: int) -> Firings:
    """The firings of some latents in all runs, which must come in order of their rows."""
    counts = [run.counts_F[low:high] for run in runs]
    spans = [
        slice(begin := int(run.counts_F[:low].sum()), begin + int(of.sum()))
        for run, of in zip(runs, counts, strict=True)
    ]
    offsets = np.zeros(high - low + 1, np.int64)
    np.cumsum(np.sum(counts, axis=0, dtype=np.int64), out=offsets[1:])
    parts = [(of, run.rows[span], run.values[span]) for run, span, of in zip(runs, spans, counts, strict=True)]
    if len(parts) > 1 and is_native() and all(rows.dtype == np.int32 for _, rows, _ in parts):
        found = native.merge([native.Sorted(*map(torch.from_numpy, part)) for part in parts], torch.from_numpy(offsets))
        return Firings(low, high, offsets, *(column.numpy() for column in found))
    rows, values = (
        _joined([rows for _, rows, _ in parts], np.int32),
        _joined([values for *_, values in parts], np.float32),
    )
    if len(parts) > 1:
        latents = np.concatenate([np.repeat(np.arange(high - low, dtype=np.int32), of) for of in counts])
        rows, values = _sorted(latents, rows, values)
    return Firings(low, high, offsets, rows, values)


def _sorted(latents: NDArray[np.int32], rows: NarrowRows, values: Values) -> tuple[NarrowRows, Values]:
    """By latent; what is equal stays in order: a sort of distinct numbers is several times faster than a stable one."""
    assert len(latents) < 1 << _POSITION_BITS
    keys = latents.astype(np.int64)
    keys <<= _POSITION_BITS
    keys |= np.arange(len(latents))
    keys.sort()
    keys &= (1 << _POSITION_BITS) - 1
    return rows[keys], values[keys]


def _joined(parts: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> NDArray:  # type: ignore[type-arg]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype)
