"""Meaning: labels found by what they say, where somebody has a sentence encoder on this machine.

    encoder = SentenceEncoder("models/all-MiniLM-L6-v2")
    meaning = Meaning(notes, encoder)
    meaning.update()
    meaning("end of a quotation").hits[0].label.text

The vectors of all texts of labels lie beside the notes, each text once, rounded to eight bits: a component is
round(127 v / max |v|), so a cosine is off by less than 0.01. One product with all of them finds the closest; none is
passed over. A label that was written since `update` is not found, and `NearLabels.waiting` says how many these are.
N texts, D width, L labels.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, Self

import safetensors
import torch
from torch import Tensor

from lexiscope.core.config import MOST_QUOTED
from lexiscope.core.disk import disk_trouble, flush
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.tensors import write_tensors
from lexiscope.index.notes.labels import LABELS
from lexiscope.index.notes.store import Notes
from lexiscope.index.notes.table import as_list
from lexiscope.index.notes.values import Label, Value

SUFFIX = ".vectors"
"""The vectors of ``index.notes.sqlite`` are ``index.notes.vectors`` beside it."""
MOST_HITS = 500
_ENCODER = "encoder-1"
"""Where the fingerprint of the encoder lies; the number is the version of the format."""
_AT_ONCE = 8192
_BETWEEN_SAVES = 65_536
"""Texts; what was encoded until then survives a kill."""
_LONGEST_QUERY = 1000


class Encoder(Protocol):
    """What `lexiscope.lm.encoder.SentenceEncoder` is."""

    width: int
    fingerprint: str

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, float32 [N, D]."""


class Near(Value):
    """A label, and how close it is to what was asked for."""

    label: Label
    cosine: float


class NearLabels(Value):
    """What was found, closest first.

    Attributes:
        searched: labels that were compared.
        waiting: labels that were written since, which are not found.
    """

    query: str
    hits: tuple[Near, ...]
    searched: int
    waiting: int


class _Vectors(NamedTuple):
    """What the file holds.

    Attributes:
        hashes_N: int64, of each text.
        rows_ND: int8.
        scales_N: float32, so that a row times its scale has length one.
        labels_L: int64, ids of labels, ascending.
        places_L: int64, the row of each label's text.
    """

    hashes_N: Tensor
    rows_ND: Tensor
    scales_N: Tensor
    labels_L: Tensor
    places_L: Tensor

    @classmethod
    def none(cls, width: int) -> Self:
        whole = torch.empty(0, dtype=torch.int64)
        return cls(whole, torch.empty(0, width, dtype=torch.int8), torch.empty(0), whole, whole)

    @property
    def last(self) -> int:
        return int(self.labels_L[-1]) if len(self.labels_L) else 0

    def cosines(self, query_D: Tensor) -> Tensor:
        """With every label, float32 [L]."""
        # The query in two parts of eight bits each: what the first rounds away is in the second.
        high_D, scale = _rounded(query_D[None])
        low_D, rest = _rounded(query_D[None] - high_D * scale[:, None])
        query_D2 = torch.cat([high_D, low_D]).T.contiguous()
        product_N2 = torch._int_mm(self.rows_ND, query_D2)  # noqa: SLF001 - the only product of bytes
        cosines_N = (product_N2[:, 0] * scale + product_N2[:, 1] * rest) * self.scales_N
        return cosines_N.index_select(0, self.places_L)

    def and_more(self, more: Self) -> Self:
        """With labels that were written later. Their places count from the first row here."""
        return type(self)(*map(torch.cat, zip(self, more, strict=True)))


class Meaning:
    """Search by meaning in the notes of one index. Safe to share between threads."""

    def __init__(self, notes: Notes, encoder: Encoder) -> None:
        self._notes, self._encoder = notes, encoder
        self.path = notes.path.with_name(notes.path.name.removesuffix(".sqlite") + SUFFIX)
        self._lock = threading.Lock()
        self._opened: tuple[tuple[int, ...], _Vectors] | None = None

    def update(self, progress: Progress = SILENT) -> int:
        """Encode the texts of labels that are new; gives how many. What is there already stays.

        Raises:
            ArtifactError: the vectors that are there are of another encoder, or damaged.
            InputError: nothing can be written beside the notes.
            DiskError: the disk is full or failed.
        """
        vectors = self._read()
        places = {number: place for place, number in enumerate(vectors.hashes_N.tolist())}
        encoded = unsaved = 0
        before = len(vectors.labels_L)
        with progress.task("Encoding", None, "labels") as task:
            for ids, texts in self._labels_after(vectors.last):
                hashes = [_hash(text) for text in texts]
                fresh = {number: text for number, text in zip(hashes, texts, strict=True) if number not in places}
                places |= {number: len(places) + place for place, number in enumerate(fresh)}
                rows_ND, scales_N = _rounded(self._encoder.encode(list(fresh.values())))
                vectors = vectors.and_more(
                    _Vectors(
                        torch.tensor(list(fresh), dtype=torch.int64),
                        rows_ND,
                        scales_N,
                        torch.tensor(ids),
                        torch.tensor([places[number] for number in hashes]),
                    )
                )
                encoded, unsaved = encoded + len(fresh), unsaved + len(fresh)
                if unsaved >= _BETWEEN_SAVES:
                    self._write(vectors)
                    unsaved = 0
                task.advance(len(ids))
            if unsaved or len(vectors.labels_L) > before:
                self._write(vectors)
        return encoded

    def __call__(self, query: str, limit: int = 50) -> NearLabels:
        """The labels that are closest to a text.

        Raises:
            InputError: it is empty or too long, or nothing was encoded yet.
            ArtifactError: the vectors are of another encoder, of other notes, or damaged.
        """
        if not 0 < len(query.strip()) <= _LONGEST_QUERY or not 0 < limit <= MOST_HITS:
            raise InputError(
                f"a search by meaning is for a text of 1 to {_LONGEST_QUERY} characters and for 1 to {MOST_HITS} "
                "labels; ask for such a one"
            )
        vectors = self._read()
        if not len(vectors.labels_L):
            raise InputError(f"no label has a vector in {self.path}; make them with: lexiscope embed")
        cosines_L = vectors.cosines(self._encoder.encode([query])[0])
        with self._notes.database.read() as tx:
            most = limit
            while True:  # some may have been removed
                best = cosines_L.topk(min(most, len(cosines_L)))
                wanted = dict(zip(vectors.labels_L[best.indices].tolist(), best.values.tolist(), strict=True))
                labels = LABELS.select(tx, "t.id IN (SELECT value FROM json_each(?))", [as_list(wanted)])
                if len(labels) >= limit or most >= len(cosines_L):
                    break
                most *= 8
            labels = sorted(labels, key=lambda label: (-wanted[label.id], label.id))[:limit]
            self._check_same(vectors, labels)
            waiting = tx.execute("SELECT count(*) FROM labels WHERE id > ? AND ended_at IS NULL", [vectors.last])
            return NearLabels(
                query=query,
                hits=tuple(
                    Near(label=label, cosine=wanted[label.id]) for label in self._notes.labels.filled(tx, labels)
                ),
                searched=len(vectors.labels_L),
                waiting=int(waiting.fetchone()[0]),
            )

    def _labels_after(self, last: int) -> Iterator[tuple[list[int], list[str]]]:
        while True:
            with self._notes.database.read() as tx:
                rows = tx.execute(
                    "SELECT id, text FROM labels WHERE id > ? AND ended_at IS NULL ORDER BY id LIMIT ?",
                    [last, _AT_ONCE],
                ).fetchall()
            if not rows:
                return
            last = int(rows[-1][0])
            yield [int(number) for number, _ in rows], [str(text) for _, text in rows]

    def _check_same(self, vectors: _Vectors, labels: Sequence[Label]) -> None:
        """Ids of labels are never given twice, but another file of notes may have come in the place of this one."""
        rows = torch.searchsorted(vectors.labels_L, torch.tensor([label.id for label in labels], dtype=torch.int64))
        hashes = vectors.hashes_N[vectors.places_L[rows]].tolist()
        if hashes != [_hash(label.text) for label in labels]:
            raise ArtifactError(f"{self.path} has vectors of other labels; move it away, then: lexiscope embed")

    def _read(self) -> _Vectors:
        """What is on the disk now, mapped and not read."""
        with self._lock:
            try:
                found = self.path.stat()
            except FileNotFoundError:
                return _Vectors.none(self._encoder.width)
            except OSError as error:
                raise InputError(f"{self.path} can't be read ({error.strerror}); allow reading it") from None
            now = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if self._opened is None or self._opened[0] != now:
                self._opened = now, self._checked()
            return self._opened[1]

    def _checked(self) -> _Vectors:
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                said = file.get_tensor(_ENCODER)
                vectors = _Vectors(*(file.get_tensor(name) for name in _Vectors._fields))
        except (OSError, safetensors.SafetensorError) as error:
            raise ArtifactError(
                f"{self.path} is damaged ({one_line(str(error), MOST_QUOTED)}); move it away, then: lexiscope embed"
            ) from None
        if not torch.equal(said, self._said()):
            raise ArtifactError(
                f"{self.path} is of another encoder, or of another version of Lexiscope; give that encoder, or move "
                "the file away and make the vectors with: lexiscope embed"
            )
        count, width = len(vectors.hashes_N), self._encoder.width
        kinds = [tensor.dtype for tensor in vectors] == [
            torch.int64,
            torch.int8,
            torch.float32,
            torch.int64,
            torch.int64,
        ]
        shapes = [tuple(tensor.shape) for tensor in vectors]
        labels = len(vectors.labels_L)
        fits = shapes == [(count,), (count, width), (count,), (labels,), (labels,)]
        if not (kinds and fits and bool(((vectors.places_L >= 0) & (vectors.places_L < count)).all())):
            raise ArtifactError(f"{self.path} is damaged; move it away, then: lexiscope embed")
        return vectors

    def _said(self) -> Tensor:
        """Which encoder made the vectors."""
        return torch.tensor(list(self._encoder.fingerprint.encode()), dtype=torch.uint8)

    def _write(self, vectors: _Vectors) -> None:
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        with disk_trouble(self.path):
            try:
                write_tensors(partial, {**vectors._asdict(), _ENCODER: self._said()})
                flush(partial)
                partial.replace(self.path)
                flush(self.path.parent)
            finally:
                partial.unlink(missing_ok=True)


def _rounded(vectors_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Eight bits for each component, int8 [N, D], and what one of each row is worth, float32 [N]."""
    scales_N = vectors_ND.abs().amax(dim=1).clamp_min(1e-30) / 127
    return (vectors_ND / scales_N[:, None]).round().to(torch.int8), scales_N


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
