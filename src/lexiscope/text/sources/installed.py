"""What the installed Python packages say about themselves: long descriptions and the docstrings of their modules.

Docstrings are found by parsing; nothing is imported. Left out: tests, vendored copies, this package itself, and any
docstring that came before in the same pass: packages repeat theirs a lot, and a copy in the other split would flatter
every held-out number. Which copy stays depends on the seed.
"""

from __future__ import annotations

import ast
import csv
import email
import hashlib
import inspect
import io
import warnings
from collections.abc import Iterator
from email.message import Message
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


class _Package(NamedTuple):
    distribution: Distribution
    metadata: Message

    def licence(self) -> str:
        """The SPDX expression of the metadata (PEP 639); packages that have only free text say "unknown"."""
        return str(self.metadata["License-Expression"] or "unknown")

    def long_description(self) -> str:
        return str(self.metadata.get_payload() or self.metadata["Description"] or "")


class _Entry(NamedTuple):
    id: str
    path: Path | None  # None: the long description
    package: _Package


class Installed:
    endless = False

    def documents(self, seed: int, report: ReadReport) -> Iterator[Document]:
        seen: set[bytes] = set()
        for entry in shuffled(_entries(), seed, "installed"):
            if entry.path is None:
                text = entry.package.long_description()
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
                yield Document(entry.id, text, "docs", entry.package.licence())

    def revision(self) -> str:
        packages = "\n".join(f"{name} {package.metadata['Version']}" for name, package in _packages().items())
        return f"packages {hashlib.sha256(packages.encode()).hexdigest()[:16]}"


def _packages() -> dict[str, _Package]:
    """Installed packages by name, sorted; the first on the path wins, as it does when importing."""
    found: dict[str, _Package] = {}
    for item in distributions():
        metadata = email.message_from_string(item.read_text("METADATA") or item.read_text("PKG-INFO") or "")
        name = str(metadata["Name"] or "").lower()
        if name and name != "lexiscope":
            found.setdefault(name, _Package(item, metadata))
    return dict(sorted(found.items()))


def _entries() -> list[_Entry]:
    entries = []
    for name, package in _packages().items():
        entries.append(_Entry(f"installed:{name}/METADATA", None, package))
        record = package.distribution.read_text("RECORD") or ""
        for row in csv.reader(io.StringIO(record)):
            path = PurePosixPath(row[0]) if row else PurePosixPath()
            if path.suffix == ".py" and ".." not in path.parts and _LEFT_OUT.isdisjoint(path.parts):
                entries.append(_Entry(f"installed:{path}", Path(str(package.distribution.locate_file(path))), package))
    return entries


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


def _walk(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator[tuple[str, str]]:
    """(dotted name, cleaned docstring) of a node and of the classes and functions in its body."""
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        text = inspect.cleandoc(first.value.value)
        if text:
            yield name, text
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")
