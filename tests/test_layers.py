"""The order of the rooms: a folder imports only from folders above it. Oracle: the syntax tree of every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "lexiscope"
ORDER = ["core", "text", "lm", "harvest", "saes", "train", "measure", "index", "steer", "web", "bench", "cli"]
NOT_FOR = {
    "saes": {"text", "lm", "harvest"},  # arithmetic on tensors
    "train": {"text", "lm"},  # activations in, weights out
    # steps on made-up activations; only cli knows it
    "bench": {"text", "lm", "harvest", "measure", "index", "steer", "web"},
}
"""Rooms that come earlier and still are none of this room's business."""
HOMES = {
    "transformers": {"lm"},
    "datasets": {"text"},
    "fastapi": {"web"},
    "uvicorn": {"web"},
    "jinja2": {"web"},
    "tensorboard": {"train"},
    "typer": {"cli"},
    "rich": {"cli"},
}
"""The only rooms that may import these libraries."""
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; write the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_flow_one_way(file: Path) -> None:
    room = file.relative_to(PACKAGE).parts[0]
    if room == "__init__.py":
        return
    above = set(ORDER[: ORDER.index(room) + 1]) - NOT_FOR.get(room, set())
    for name in imports(file):
        if name.startswith("lexiscope.") and name != "lexiscope.__version__":
            imported = name.split(".")[1]
            assert imported in above, f"{room} may import from {sorted(above)}, not from {imported}"
        home = HOMES.get(name.split(".")[0])
        assert home is None or room in home, f"{name} belongs in {home}, not in {room}"


def test_every_folder_has_its_place() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ORDER)
