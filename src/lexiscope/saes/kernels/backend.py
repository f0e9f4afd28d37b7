"""Which kernels do the work: a matter of speed only, the results are the same to the rounding of a sum.

    dense    the formulas in plain dense torch: slow, the oracle of the tests
    stock    stock torch operators, everywhere
    native   C++ for processors, float32, compiled at first use; where it can't be, stock serves instead
    triton   for the current CUDA device, where Triton is installed; elsewhere only if asked for, in its interpreter

Left alone, the fastest that serves the tensors at hand is taken. ``use(name)`` or the environment variable
LEXISCOPE_KERNELS ask for one; what it can't serve (native: float64, CUDA; triton: the CPU) still goes to stock.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels.native import library

NAMES = ("dense", "stock", "native", "triton")
VARIABLE = "LEXISCOPE_KERNELS"

_asked: str | None = None


@contextlib.contextmanager
def use(name: str) -> Iterator[None]:
    """Ask for a path, in the whole process: gradients may be computed on another thread.

    Raises:
        InputError: no such path, or this machine can't run it.
    """
    global _asked  # noqa: PLW0603
    _check(name, "use")
    before, _asked = _asked, name
    try:
        yield
    finally:
        _asked = before


def path(*tensors: Tensor) -> str:
    """The path that serves these tensors, one of `NAMES`.

    Raises:
        InputError: LEXISCOPE_KERNELS asks for what does not exist here.
    """
    asked = asked_for()
    if asked in ("dense", "stock"):
        return asked
    if asked != "triton" and _are_float32_on_cpu(tensors):
        return "native" if library.loaded().dll is not None else "stock"
    on = {tensor.device.type for tensor in tensors}
    if asked == "native" or not has_triton():
        return "stock"
    if on == {"cuda"}:  # Triton launches on the current device and nowhere else
        return "triton" if {tensor.device.index for tensor in tensors} == {torch.cuda.current_device()} else "stock"
    return "triton" if asked == "triton" and _interprets() else "stock"


def asked_for() -> str | None:
    """What `use` or the environment asks for; None: whatever is fastest."""
    if _asked is not None:
        return _asked
    name = os.environ.get(VARIABLE)
    if name:
        _check(name, VARIABLE)
    return name or None


def is_overridden() -> bool:
    """Whether `use` asks for something other than native kernels at this moment."""
    return _asked is not None and _asked != "native"


def report() -> dict[str, str]:
    """For every kind of device, which path serves float32 tensors on it and why."""
    native = library.loaded()
    asked = asked_for()
    because = f" (asked for: {asked})" if asked else ""
    cpu = path(torch.empty(0))
    reason = f": {native.reason}" if cpu == "native" or (native.dll is None and asked is None) else ""
    lines = {"cpu": f"{cpu}{reason}{because}"}
    if torch.cuda.is_available():
        cuda = asked if asked in ("dense", "stock") else "triton" if has_triton() and asked != "native" else "stock"
        lines["cuda"] = f"{cuda}{because}"
    return lines


def has_triton() -> bool:
    """Whether Triton and the kernels written in it can be imported."""
    return (
        importlib.util.find_spec("triton") is not None
        and importlib.util.find_spec("lexiscope.saes.kernels.triton") is not None
    )


def _interprets() -> bool:
    from lexiscope.saes.kernels.triton.launch import interpreted

    return interpreted()


def _are_float32_on_cpu(tensors: tuple[Tensor, ...]) -> bool:
    for tensor in tensors:  # noqa: SIM110  asked for every token that is generated: no generator, no names of devices
        if not tensor.is_cpu or tensor.dtype is not torch.float32:
            return False
    return True


def _check(name: str, where: str) -> None:
    if name not in NAMES:
        raise InputError(f"{where}: there are no kernels called {name!r}; choose one of {', '.join(NAMES)}")
    if name == "native" and library.loaded().dll is None:
        raise InputError(f"{where}: native kernels can't run here ({library.loaded().reason}); use stock")
    if name == "triton":
        if not has_triton():
            raise InputError(f"{where}: triton kernels can't run here (triton is not installed); use stock")
        if not (torch.cuda.is_available() or _interprets()):
            raise InputError(
                f"{where}: triton kernels can't run here (no CUDA device); use stock or native, or set "
                "TRITON_INTERPRET=1 to run them slowly in Triton's interpreter"
            )
