"""Sample: the codes of some rows, so that what fires together can be counted without the whole of the codes.

A row is in the sample if a hash of its number is small enough; the bound is halved until the codes fit. Who gathers
which rows, and in how many pieces, does not matter. R rows of the sample, M of its codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import ArtifactError
from lexiscope.core.tensors import read_tensors, write_tensors

SAMPLE = "sample.safetensors"
_MOST_HALVINGS = 63
TENSORS = ("halvings", "rows", "offsets", "latents")
"""Names of the tensors of a sample, in a file of its own or beside others."""


class Sample(NamedTuple):
    """Which latents fire on some rows.

    Attributes:
        halvings: a row is in the sample if the upper so many bits of its hash are 0.
        rows: int64 [R], ascending.
        offsets: int64 [R + 1].
        latents: int32 [M]; row r of the sample owns ``offsets[r]:offsets[r + 1]``, in the order of its codes.
    """

    halvings: int
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    latents: NDArray[np.int32]

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint or a file."""
        arrays = {name: torch.from_numpy(array) for name, array in self._asdict().items() if name != "halvings"}
        return {"halvings": torch.tensor(self.halvings), **arrays}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        return cls(int(tensors["halvings"]), *(tensors[name].numpy() for name in cls._fields[1:]))

    def write(self, folder: Path) -> None:
        write_tensors(folder / SAMPLE, self.tensors())

    @classmethod
    def read(cls, path: Path, num_rows: int, num_latents: int) -> Self:
        """What `write` wrote.

        Raises:
            ArtifactError: it is no sample of such a text and such a dictionary.
        """
        try:
            return cls.checked(read_tensors(path), num_rows, num_latents)
        except (KeyError, TypeError, ValueError):
            raise ArtifactError(f"{path} is damaged: it holds no codes of this index; build the index again") from None

    @classmethod
    def checked(cls, tensors: Mapping[str, torch.Tensor], num_rows: int, num_latents: int) -> Self:
        """From tensors of which nothing is known.

        Raises:
            ValueError: they are no sample of such a text and such a dictionary.
        """
        dtypes = {"halvings": torch.int64, "rows": torch.int64, "offsets": torch.int64, "latents": torch.int32}
        ranks = {name: tensor.ndim for name, tensor in tensors.items()}
        if {name: tensor.dtype for name, tensor in tensors.items()} != dtypes or ranks != dict.fromkeys(ranks, 1) | {
            "halvings": 0
        }:
            raise ValueError("no sample")
        found = cls.of_tensors(tensors)
        if not (
            0 <= found.halvings <= _MOST_HALVINGS
            and len(found.offsets) == len(found.rows) + 1
            and found.offsets[0] == 0
            and found.offsets[-1] == len(found.latents)
            and bool((np.diff(found.offsets) >= 0).all())
            and _is_inside(found.rows, num_rows)
            and bool((np.diff(found.rows) > 0).all())
            and _is_inside(found.latents, num_latents)
        ):
            raise ValueError("a sample of something else")
        return found

    @classmethod
    def empty(cls) -> Self:
        return cls(0, np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32))

    @classmethod
    def of(cls, codes: SparseCodes, start: int, halvings: int) -> Self:
        """From the codes of the rows ``start``, ``start + 1`` …"""
        rows_T = np.arange(start, start + codes.num_tokens)
        latents = codes.latents.cpu().numpy().astype(np.int32)
        return cls(0, rows_T, codes.offsets.cpu().numpy(), latents).halved(halvings)

    def halved(self, halvings: int) -> Self:
        """What a stricter bound keeps."""
        if halvings == self.halvings:
            return self
        kept = np.flatnonzero(_is_chosen(self.rows, halvings))
        lengths = np.diff(self.offsets)[kept]
        return self.__class__(halvings, self.rows[kept], _offsets(lengths), self.latents[_spans(self.offsets, kept)])

    @classmethod
    def joined(cls, samples: Sequence[Self], at_most: int) -> Self:
        """The sample of all their rows, which come in order, with at most so many codes."""
        halvings = max((sample.halvings for sample in samples), default=0)
        while halvings < _MOST_HALVINGS and sum(sample.size(halvings) for sample in samples) > at_most:
            halvings += 1
        kept = [sample.halved(halvings) for sample in samples]
        if not kept:
            return cls.empty()
        return cls(
            halvings,
            np.concatenate([sample.rows for sample in kept]),
            _offsets(np.concatenate([np.diff(sample.offsets) for sample in kept])),
            np.concatenate([sample.latents for sample in kept]),
        )

    def size(self, halvings: int) -> int:
        """How many codes a stricter bound keeps."""
        if halvings == self.halvings:
            return len(self.latents)
        return int(np.diff(self.offsets)[_is_chosen(self.rows, halvings)].sum())

    def since(self, row: int) -> Self:
        """What it holds of this row and those that follow."""
        first = int(np.searchsorted(self.rows, row))
        offsets = self.offsets[first:]
        return self.__class__(self.halvings, self.rows[first:], offsets - offsets[0], self.latents[offsets[0] :])

    def beside(self, rows_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Latents that fire on the given rows (ascending), on how many of them, and how many are in the sample."""
        places = np.searchsorted(self.rows, rows_N)
        inside = places[places < len(self.rows)]
        inside = inside[self.rows[inside] == rows_N[places < len(self.rows)]]
        latents, counts = np.unique(self.latents[_spans(self.offsets, inside)], return_counts=True)
        return latents.astype(np.int64), counts, len(inside)


class Sampling:
    """The sample of all rows so far, while their codes arrive.

    Args:
        at_most: codes.
        begun: samples of the rows before, in order.
    """

    def __init__(self, at_most: int, begun: Sequence[Sample] = ()) -> None:
        self._at_most = at_most
        self._parts = [Sample.joined(begun, at_most)]
        self._size, self._halvings = len(self._parts[0].latents), self._parts[0].halvings

    def add(self, codes: SparseCodes, start: int) -> None:
        """Codes of the rows ``start``, ``start + 1`` …"""
        self._parts.append(Sample.of(codes, start, self._halvings))
        self._size += len(self._parts[-1].latents)
        while self._size > self._at_most and self._halvings < _MOST_HALVINGS:
            self._halvings += 1
            self._parts = [part.halved(self._halvings) for part in self._parts]
            self._size = sum(len(part.latents) for part in self._parts)

    def sample(self) -> Sample:
        """Of all that has arrived."""
        self._parts = [Sample.joined(self._parts, self._at_most)]
        return self._parts[0]


def _is_inside(values: NDArray[np.integer], end: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < end)


def _is_chosen(rows: NDArray[np.int64], halvings: int) -> NDArray[np.bool_]:
    """By the upper bits of the splitmix64 hash (Steele, Lea & Flood 2014) of each row's number."""
    if not halvings:
        return np.ones(len(rows), dtype=bool)
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    chosen: NDArray[np.bool_] = mixed >> np.uint64(64 - halvings) == 0
    return chosen


def _spans(offsets: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of all entries of the chosen rows."""
    lengths = np.diff(offsets)[chosen]
    ends: NDArray[np.int64] = lengths.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(offsets[chosen] - (ends - lengths), lengths)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
