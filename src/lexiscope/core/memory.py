"""Large blocks of memory that are used again instead of being given back.

The system hands out memory page by page, filled with zeros, and glibc returns blocks above 32 MB to it at once: a
training step that makes tensors of a dictionary's size spends more time on fresh pages than on some of its arithmetic.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import math
import mmap
import platform
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LARGE_BYTES = 2**20
"""Smaller blocks are left to the allocator, which keeps them anyway."""

SPARE = 1.25
"""What may lie idle, as a multiple of what was once in use together: a step that takes and gives back blocks of several
sizes in turn needs them all in the next one."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of mallopt, from glibc's malloc.h."""


class Pool:
    """Uninitialised tensors in main memory; when one dies, its memory serves the next of about its size.

    Blocks ask for large pages, where the system has them. Not much more lies idle than was once in use together; the
    longest idle goes first. A tensor may die in any thread at any moment, so nothing here waits for a lock.
    """

    def __init__(self) -> None:
        self._idle: list[mmap.mmap] = []
        self._leases: dict[int, int] = {}
        self._numbers = itertools.count()
        self.bytes_used = self.most_bytes_used = 0

    @property
    def bytes_idle(self) -> int:
        return sum(map(len, list(self._idle)))

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Like torch.empty on the CPU."""
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE_BYTES:
            return torch.empty(tuple(shape), dtype=dtype)
        block = self._take(size)
        # Torch holds on to it for as long as the memory is in use.
        lease = np.frombuffer(block, dtype=np.uint8, count=size)
        address = lease.ctypes.data
        self._leases[address] = next(self._numbers)
        weakref.finalize(lease, self._give_back, block, address).atexit = False
        return torch.from_numpy(lease).view(dtype).view(tuple(shape))

    def lease(self, tensor: Tensor) -> int | None:
        """A number for the memory a tensor starts at, until that is given back. None: it is not of the pool."""
        return self._leases.get(tensor.data_ptr())

    def release(self) -> None:
        """Give back what lies idle."""
        self._idle.clear()
        self.most_bytes_used = self.bytes_used

    def _take(self, size: int) -> mmap.mmap:
        block = self._find(size) or _fresh(size)
        self.bytes_used += len(block)
        self.most_bytes_used = max(self.most_bytes_used, self.bytes_used)
        return block

    def _find(self, size: int) -> mmap.mmap | None:
        """The smallest idle block that is large enough and not twice as large as need be; of equal ones the last."""
        fitting = [block for block in reversed(list(self._idle)) if size <= len(block) <= 2 * size]
        for block in sorted(fitting, key=len):
            with contextlib.suppress(ValueError):  # another thread was faster
                self._idle.remove(block)
                return block
        return None

    def _give_back(self, block: mmap.mmap, address: int) -> None:
        self._leases.pop(address, None)
        self.bytes_used -= len(block)
        self._idle.append(block)
        while self.bytes_idle > SPARE * self.most_bytes_used:
            with contextlib.suppress(IndexError):
                self._idle.pop(0)


def _fresh(size: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared blocks get no large pages
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


_pool = Pool()


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """An uninitialised tensor in main memory for a short while, from a pool of blocks that the process keeps."""
    return _pool.empty(shape, dtype)


def lease(tensor: Tensor) -> int | None:
    """A number for the memory a tensor starts at, until that is given back. None: it is not of the pool."""
    return _pool.lease(tensor)


def release() -> None:
    """Give the pool's idle blocks back to the system: after a training, say."""
    _pool.release()


def lasting(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of zeros in main memory, in large pages where the system has them, given back when it dies."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE_BYTES:
        return torch.zeros(tuple(shape), dtype=dtype)
    return torch.frombuffer(_fresh(size), dtype=dtype).view(tuple(shape))


@functools.lru_cache(1)
def keep_large_blocks() -> bool:
    """Let glibc keep freed memory instead of returning it to the system; True if that took effect.

    It helps tensors that torch makes itself, in the whole process. The price is memory: glibc looks for an aligned
    block with room to spare, so a freed one is too small for the next of its size unless its neighbours are free too.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def running_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    return _of_system("/proc/self/status", "VmRSS") or 0


def free_bytes() -> int | None:
    """Memory that could be had without swapping; None where the system does not tell."""
    return _of_system("/proc/meminfo", "MemAvailable")


def most_bytes() -> int | None:
    """All memory that there is, swap included; None where the system does not tell."""
    memory, swap = (_of_system("/proc/meminfo", name) for name in ("MemTotal", "SwapTotal"))
    return None if memory is None else memory + (swap or 0)


def _of_system(file: str, name: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(file).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    return None
