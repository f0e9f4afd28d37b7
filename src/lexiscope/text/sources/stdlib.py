"""The running Python's own text: library source, docstrings of compiled modules, and the reference topics of pydoc.

Docstrings of modules written in Python are in their source and not repeated. Left out: tests, installed packages, the
tables of character sets in ``encodings`` and files made by the build of this Python.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import platform
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

from lexiscope.text.document import Document
from lexiscope.text.report import ReadReport
from lexiscope.text.sources.base import shuffled

LICENCE = "PSF-2.0"
_NOT_TEXT = {"__pycache__", "site-packages", "dist-packages", "pydoc_data", "encodings"}
_TESTS = {"test", "tests", "idle_test"}


class Stdlib:
    endless = False

    def __init__(self) -> None:
        self._root = Path(sysconfig.get_path("stdlib"))

    def documents(self, seed: int, report: ReadReport) -> Iterator[Document]:
        from pydoc_data.topics import topics

        keys = [("source", name) for name in self._source_files()]
        keys += [("docstrings", name) for name in _compiled_modules()]
        keys += [("topics", name) for name in sorted(topics)]
        for what, name in shuffled(keys, seed, "stdlib"):
            if what == "topics":
                yield Document(f"stdlib:topics/{name}", topics[name], "docs", LICENCE)
            elif what == "docstrings":
                if text := _docstrings(name):
                    yield Document(f"stdlib:docstrings/{name}", text, "docs", LICENCE)
            else:
                try:
                    text = self._source(name)
                except (OSError, SyntaxError, UnicodeDecodeError):
                    report.skip("unreadable file")
                else:
                    yield Document(f"stdlib:{name}", text, "code", LICENCE)

    def revision(self) -> str:
        sizes = [f"{name} {(self._root / name).stat().st_size}" for name in self._source_files()]
        return f"python {platform.python_version()} {hashlib.sha256(chr(10).join(sizes).encode()).hexdigest()[:16]}"

    def _source_files(self) -> list[str]:
        """Paths below the library folder, sorted, in POSIX form."""
        names = []
        for path in self._root.rglob("*.py"):
            parts = path.relative_to(self._root).parts
            if _NOT_TEXT.isdisjoint(parts) and _TESTS.isdisjoint(parts) and not _made_by_build(parts):
                names.append("/".join(parts))
        return sorted(names)

    def _source(self, name: str) -> str:
        with tokenize.open(self._root / name) as file:  # honours the file's coding line
            return file.read()


def _made_by_build(parts: tuple[str, ...]) -> bool:
    return parts[0].startswith(("_sysconfigdata", "config-"))


def _compiled_modules() -> list[str]:
    """Built-in and extension modules of the standard library, without the test helpers."""
    names = []
    for name in sorted(sys.stdlib_module_names - {"_tkinter"}):
        if "test" in name or "xx" in name:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            spec = importlib.util.find_spec(name) if name != "__main__" else None
        if spec and (spec.origin == "built-in" or isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)):
            names.append(name)
    return names


def _docstrings(name: str) -> str:
    """Docstrings of a compiled module and of what it defines, each under its name; "" if it can't be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = importlib.import_module(name)
    except ImportError:
        return ""
    entries = [(name, module)]
    for key, value in sorted(vars(module).items()):
        if not key.startswith("__") and getattr(value, "__module__", None) == name:
            entries.append((f"{name}.{key}", value))
            if isinstance(value, type):
                entries += [(f"{name}.{key}.{k}", v) for k, v in sorted(vars(value).items()) if not k.startswith("_")]
    return "\n\n\n".join(f"{title}\n\n{doc}" for title, value in entries if (doc := inspect.getdoc(value)))
