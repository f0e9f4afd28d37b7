"""Compile the C++ files beside this one into a shared library, once per version of them, of the compiler and its flags.

The library lies in a folder of the user's (``LEXISCOPE_CACHE``, else ``$XDG_CACHE_HOME/lexiscope``, else
``~/.cache/lexiscope``), in a temporary one if that can't be written. No other process ever sees half of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = (
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -fno-math-errno -fno-trapping-math "
    "-ffp-contract=fast -fopenmp-simd -Wall -Wextra -Wno-psabi -Wno-maybe-uninitialized"
).split()
"""No -march: instruction sets are chosen at run time. No -fopenmp: threads are those that torch has started."""
COMPILERS = ("c++", "g++", "clang++")
PATIENCE_SECONDS = 300


class BuildError(Exception):
    """There is no native library; the message says why."""


def build() -> Path:
    """The library, compiled now if it is not there.

    Raises:
        BuildError: no compiler, or it refused, or nowhere to write.
    """
    compiler = _compiler()
    folder = _folder()
    library = folder / f"kernels-{_key(compiler)}.so"
    if library.exists():
        return library
    with _alone(library.with_suffix(".lock")):
        if not library.exists():
            _compile(compiler, library)
    return library


def _compiler() -> list[str]:
    """``$CXX`` with its arguments, else the first compiler on the path."""
    if asked := os.environ.get("CXX"):
        command = shlex.split(asked)
        if shutil.which(command[0]) is None:
            raise BuildError(f"CXX names {command[0]}, which is not there")
        return command
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler on the path (" + ", ".join(COMPILERS) + ")")


def _key(compiler: list[str]) -> str:
    digest = hashlib.sha256()
    version = _run([*compiler, "--version"])
    for part in (platform.machine(), platform.system(), version, *compiler, *FLAGS):
        digest.update(part.encode() + b"\0")
    for file in sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def _folder() -> Path:
    """Where libraries are kept: a folder that only this user can write to."""
    home = os.environ.get("LEXISCOPE_CACHE") or os.path.join(  # noqa: PTH118  expanduser may leave "~"
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),  # noqa: PTH111
        "lexiscope",
    )
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    for folder in (Path(home) / "native", Path(tempfile.gettempdir()) / f"lexiscope-native-{user}"):
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(folder):
                return folder
    raise BuildError(f"neither {home} nor {tempfile.gettempdir()} can hold the compiled kernels")


def _is_private(folder: Path) -> bool:
    """Ours, and nobody else can put a library there for us to load."""
    status = folder.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        return False
    return os.access(folder, os.W_OK)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; without file locks both work, and the later rename wins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(compiler: list[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = [folder / f"{source.stem}.o" for source in sources]
        commands = [
            [*compiler, *FLAGS, "-c", str(source), "-o", str(target)]
            for source, target in zip(sources, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(_run, commands))
        made = folder / library.name
        _run([*compiler, "-shared", "-pthread", *map(str, objects), "-o", str(made)])
        made.replace(library)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603  the user's own compiler
            command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} did not run ({error})") from None
    if done.returncode:
        raise BuildError(f"{shlex.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
