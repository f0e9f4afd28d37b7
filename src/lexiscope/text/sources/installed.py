"""What the installed Python packages say about themselves: long descriptions and the docstrings of their modules.

Docstrings are found by parsing; nothing is imported. Left out: tests, vendored copies, this package itself, and any
docstring that came before in the same pass (packages repeat theirs a lot).
"""

from __future__ import annotations

import ast
import csv
import hashlib
import inspect
import io
import warnings
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lexiscope.text.document import Document
from lexiscope.text.report import ReadReport
from lexiscope.text.sources.base import shuffled

_LEFT_OUT = {"test", "tests", "testing", "_vendor", "vendor"}
_MAX_FILE_BYTES = 2_000_000
"""Bigger Python files are tables or bundles, slow to parse and without prose."""
_MIN_DOCUMENT_CHARACTERS = 200
"""A module with fewer characters of docstrings gives no document."""


class _Entry(NamedTuple):
    id: str
    path: Path | None  # None: the long description
    distribution: Distribution
    licence: str


class Installed:
    endless = False

    def documents(self, seed: int, report: ReadReport) -> Iterator[Document]:
        seen: set[bytes] = set()
        for entry in shuffled(_entries(), seed, "installed"):
            if entry.path is None:
                text = _long_description(entry.distribution)
            else:
                try:
                    text = _docstrings(entry.path, seen)
                except OSError:
                    report.skip("unreadable file")
                    continue
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    report.skip("file that Python can't parse")
                    continue
            if len(text) >= _MIN_DOCUMENT_CHARACTERS:
                yield Document(entry.id, text, "docs", entry.licence)

    def revision(self) -> str:
        packages = "\n".join(f"{name} {item.version}" for name, item in _distributions().items())
        return f"packages {hashlib.sha256(packages.encode()).hexdigest()[:16]}"


def _distributions() -> dict[str, Distribution]:
    """Installed distributions by name, sorted; the first on the path wins, as it does when importing."""
    found: dict[str, Distribution] = {}
    for item in distributions():
        name = item.metadata["Name"]
        if name and name.lower() != "lexiscope":
            found.setdefault(name.lower(), item)
    return dict(sorted(found.items()))


def _entries() -> list[_Entry]:
    entries = []
    for name, item in _distributions().items():
        licence = _licence(item)
        entries.append(_Entry(f"installed:{name}/METADATA", None, item, licence))
        for row in csv.reader(io.StringIO(item.read_text("RECORD") or "")):
            path = PurePosixPath(row[0]) if row else PurePosixPath()
            if path.suffix == ".py" and ".." not in path.parts and _LEFT_OUT.isdisjoint(path.parts):
                entries.append(_Entry(f"installed:{path}", Path(str(item.locate_file(path))), item, licence))
    return entries


def _licence(item: Distribution) -> str:
    """The SPDX expression of the metadata (PEP 639), else its old free field if it is one short line."""
    metadata = item.metadata
    value = metadata.get("License-Expression") or metadata.get("License") or ""
    return value if 0 < len(value) <= 40 and "\n" not in value else "unknown"


def _long_description(item: Distribution) -> str:
    return str(item.metadata.get_payload() or item.metadata.get("Description") or "")


def _docstrings(path: Path, seen: set[bytes]) -> str:
    """Docstrings of a module, each under its dotted name."""
    source = path.read_bytes()
    if len(source) > _MAX_FILE_BYTES or (b'"""' not in source and b"'''" not in source):
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's files
        tree = ast.parse(source)
    found = []
    for name, text in _walk(tree, path.parent.name if path.stem == "__init__" else path.stem):
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if digest not in seen:
            seen.add(digest)
            found.append(f"{name}\n\n{text}")
    return "\n\n\n".join(found)


def _walk(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Iterator[tuple[str, str]]:
    """(dotted name, cleaned docstring) of a node and of the classes and functions in its body."""
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        text = inspect.cleandoc(first.value.value)
        if text:
            yield name, text
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")
