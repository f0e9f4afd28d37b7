"""What is known of a gradient since it was written, so that Adam need not read it once more.

A note is about the memory of a tensor from the pool, and is worth something as long as that memory has not been given
back and nothing has changed the tensor: autograd hands the same memory on to ``parameter.grad``, but adds to it or
makes another where several gradients meet.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lexiscope.core import memory


class _Note(NamedTuple):
    lease: int
    shape: tuple[int, ...]
    version: int
    norms: Tensor
    """Σ g², and the same without the part along unit rows; float64."""
    rows: Tensor | None
    """The rows, where it is known what the gradient has along them."""
    rows_version: int
    along_F: Tensor | None


_notes: dict[int, _Note] = {}
"""By address. A new tensor at the same place replaces the note of the last."""


def remember(grad_FD: Tensor, rows_FD: Tensor | None, norms: Tensor, along_F: Tensor | None) -> None:
    """Note what was found while a gradient was written; ``rows_FD`` is the tensor that ``along_F`` refers to."""
    lease = memory.lease(grad_FD)
    if lease is not None:
        rows_version = 0 if rows_FD is None else _version(rows_FD)
        _notes[grad_FD.data_ptr()] = _Note(
            lease, tuple(grad_FD.shape), _version(grad_FD), norms, rows_FD, rows_version, along_F
        )


def recall(grad: Tensor, unit_rows: Tensor | None) -> tuple[Tensor, Tensor | None] | None:
    """Σ g² and what goes with it, as `native.adam.look` gives it, if it is known."""
    note = _notes.get(grad.data_ptr())
    if (
        note is None
        or note.lease != memory.lease(grad)
        or note.shape != tuple(grad.shape)
        or note.version != _version(grad)
    ):
        return None
    if unit_rows is None:
        return note.norms[0], None
    same = note.rows is not None and note.rows.data_ptr() == unit_rows.data_ptr()
    if not same or note.rows_version != _version(unit_rows):
        return None
    return note.norms[1], note.along_F


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version  # noqa: SLF001  nothing public counts changes
