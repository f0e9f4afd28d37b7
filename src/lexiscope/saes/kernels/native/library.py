"""The compiled library, loaded once, and its functions with checked arguments.

    SCALE = Function("lx_scale", F32, SIZE, REAL)      # declared beside the kernel's wrapper
    SCALE(tensor, tensor.numel(), 2.0)                 # loads the library at the first call

A tensor is checked for its type, for lying in main memory and for being contiguous, and passed as its address. The
number of threads that torch uses at that moment is added as the last argument.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lexiscope.saes.kernels.native.build import BuildError, build

INSTRUCTION_SETS = ("portable", "avx2", "avx512")


class Kind(NamedTuple):
    """What an argument is: an array of some type (None where it may be left out), a number of things, a real."""

    ctype: Any
    dtype: torch.dtype | None = None
    optional: bool = False

    def or_none(self) -> Kind:
        return self._replace(optional=True)


F32 = Kind(ctypes.c_void_p, torch.float32)
F64 = Kind(ctypes.c_void_p, torch.float64)
BF16 = Kind(ctypes.c_void_p, torch.bfloat16)
I64 = Kind(ctypes.c_void_p, torch.int64)
I32 = Kind(ctypes.c_void_p, torch.int32)
U8 = Kind(ctypes.c_void_p, torch.uint8)
SIZE = Kind(ctypes.c_int64)
REAL = Kind(ctypes.c_double)


class Loaded(NamedTuple):
    dll: ctypes.CDLL | None
    path: Path | None
    reason: str
    """Why there is none, or what it uses."""


_lock = threading.Lock()


@functools.lru_cache(1)
def _loaded_once() -> Loaded:
    try:
        path = build()
        dll = ctypes.CDLL(str(path))
    except (BuildError, OSError) as error:
        return Loaded(None, None, str(error))
    dll.lx_start.argtypes, dll.lx_start.restype = [ctypes.c_void_p], None
    runtime = _parallel_of_torch()
    dll.lx_start(runtime)
    dll.lx_isa.restype = ctypes.c_int64
    threads = "the threads of torch" if runtime else "one thread: torch has no OpenMP runtime to share"
    return Loaded(dll, path, f"{INSTRUCTION_SETS[dll.lx_isa()]}, {threads}")


def loaded() -> Loaded:
    """The library, compiled and loaded at the first call; the same answer ever after."""
    with _lock:
        return _loaded_once()


def _parallel_of_torch() -> int | None:
    """Address of GOMP_parallel in the OpenMP runtime that torch itself was linked to."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        if (folder / name).exists():
            try:
                function = ctypes.CDLL(str(folder / name)).GOMP_parallel
            except (OSError, AttributeError):
                return None
            return ctypes.cast(function, ctypes.c_void_p).value
    return None


class Function:
    """A function of the library; see the top of this file."""

    def __init__(self, name: str, *kinds: Kind, returns: Kind | None = None) -> None:
        self.name, self.kinds, self.returns = name, kinds, returns
        self._function: Any = None

    def __call__(self, *arguments: Tensor | float | None) -> Any:
        if self._function is None:
            self._function = self._bind()
        values: list[Any] = []
        for position, (kind, argument) in enumerate(zip(self.kinds, arguments, strict=True)):
            if kind.dtype is None:
                values.append(argument)
            elif argument is None:
                assert kind.optional, f"{self.name}: argument {position} is missing"
                values.append(None)
            else:
                assert isinstance(argument, Tensor), f"{self.name}: argument {position} is no tensor"
                assert argument.dtype is kind.dtype, f"{self.name}: argument {position} is {argument.dtype}"
                assert argument.is_cpu, f"{self.name}: argument {position} is on {argument.device}"
                assert argument.is_contiguous(), f"{self.name}: argument {position} is not contiguous"
                values.append(argument.data_ptr())
        return self._function(*values, torch.get_num_threads())

    def _bind(self) -> Any:
        dll = loaded().dll
        assert dll is not None, f"{self.name}: there is no native library ({loaded().reason})"
        function = dll[self.name]
        function.argtypes = [*(kind.ctype for kind in self.kinds), ctypes.c_int64]
        function.restype = None if self.returns is None else self.returns.ctype
        return function


def limit_instructions(name: str) -> None:
    """Use no better instruction set than this, in the whole process; for tests. The last one is the usual state."""
    dll = loaded().dll
    assert dll is not None
    dll.lx_limit_isa.argtypes, dll.lx_limit_isa.restype = [ctypes.c_int64], None
    dll.lx_limit_isa(INSTRUCTION_SETS.index(name))
