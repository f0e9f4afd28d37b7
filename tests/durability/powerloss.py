"""What is on a disk after power was lost: a model, fed with the trace of a run (shim.c).

Only what was flushed is certain: data and length of a file after an fsync of the file, a name in a folder after an
fsync of the folder. Each other change up to the cut may be there or not, whatever became of those before it; a write
may be there in part, or only as a longer file of zeros. That is less than any file system promises. Renaming is atomic,
and certain after an fsync of the folder that has the new name.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tests.durability.faults import Op, Step

ROOT = 0
NEVER = 1 << 62


class Name(NamedTuple):
    """A folder has a name, or no longer if ``node`` is None."""

    folder: int
    name: str
    node: int | None


class Move(NamedTuple):
    folder: int
    name: str
    to_folder: int
    to_name: str
    node: int


class Data(NamedTuple):
    node: int
    offset: int
    content: bytes


class Size(NamedTuple):
    node: int
    length: int


class Nothing(NamedTuple):
    """A flush, or a mark: it changes nothing by itself."""


Change = Name | Move | Data | Size | Nothing
Files = dict[str, bytes | None]
"""What is there: content by path, None for a folder."""


class Trace:
    """The changes of a run, in order.

    Args:
        before: what was there for certain.

    Attributes:
        changes: one per step of the trace.
        marks: what the run said, and after how many changes.
    """

    def __init__(self, root: Path, steps: Sequence[Step], before: Files) -> None:
        self._root = PurePosixPath(root)
        self._entries: dict[int, dict[str, int]] = {ROOT: {}}
        self._nodes = 1
        self._content: dict[int, bytes] = {}
        for name, content in before.items():
            folder, last = self._place(str(self._root / name))
            self._entries[folder][last] = self._new_node(is_folder=content is None)
            if content is not None:
                self._content[self._nodes - 1] = content
        self._before = {folder: dict(names) for folder, names in self._entries.items()}
        self.changes: list[Change] = []
        self.marks: list[tuple[int, str]] = []
        self._settled: list[int] = []
        waiting: dict[int, list[int]] = {}
        for number, step in enumerate(steps):
            if step.op == Op.MARK:
                self.marks.append((number, step.path))
            elif step.op == Op.SYNC:
                for earlier in waiting.pop(self._find(step.path), []):
                    self._settled[earlier] = number
            change = Nothing() if step.op in {Op.MARK, Op.SYNC} else self._read(step)
            self.changes.append(change)
            self._settled.append(NEVER)
            if (node := _settles_with(change)) is not None:
                waiting.setdefault(node, []).append(number)

    def after(self, cut: int, policy: str, chance: random.Random) -> Files:
        """What is there if power is lost when so many changes were made."""
        survive = POLICIES[policy]
        entries = {folder: dict(names) for folder, names in self._before.items()}
        content = {node: bytearray(data) for node, data in self._content.items()}
        order = chance.randint(0, cut)
        for number, change in enumerate(self.changes[:cut]):
            settled = self._settled[number] < cut
            there = change if settled else survive(change, number < order, chance)
            match there:
                case Name(folder, name, None):
                    entries.setdefault(folder, {}).pop(name, None)
                case Name(folder, name, node):
                    entries.setdefault(folder, {})[name] = node
                case Move(folder, name, to_folder, to_name, node):
                    if entries.setdefault(folder, {}).get(name) == node:
                        del entries[folder][name]
                    entries.setdefault(to_folder, {})[to_name] = node
                case Data(node, offset, data):
                    held = content.setdefault(node, bytearray())
                    held.extend(bytes(max(0, offset + len(data) - len(held))))
                    held[offset : offset + len(data)] = data
                case Size(node, length):
                    held = content.setdefault(node, bytearray())
                    del held[length:]
                    held.extend(bytes(length - len(held)))
        return dict(self._walk(entries, content, ROOT, PurePosixPath()))

    def _walk(
        self, entries: dict[int, dict[str, int]], content: dict[int, bytearray], folder: int, path: PurePosixPath
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, node in sorted(entries.get(folder, {}).items()):
            if node in self._entries:
                yield str(path / name), None
                yield from self._walk(entries, content, node, path / name)
            else:
                yield str(path / name), bytes(content.get(node, b""))

    def _read(self, step: Step) -> Change:
        """One step, done in the tree as the run saw it."""
        if step.op in {Op.WRITE, Op.TRUNCATE}:
            if step.path.endswith(" (deleted)"):
                return Nothing()
            node = self._find(step.path)
            return Data(node, step.offset, step.data) if step.op == Op.WRITE else Size(node, step.offset)
        folder, name = self._place(step.path)
        there = self._entries[folder].get(name)
        match step.op:
            case Op.CREATE if there is not None:
                return Size(there, 0) if step.truncates else Nothing()
            case Op.CREATE | Op.MKDIR:
                node = self._entries[folder][name] = self._new_node(is_folder=step.op == Op.MKDIR)
                return Name(folder, name, node)
            case Op.UNLINK | Op.RMDIR:
                del self._entries[folder][name]
                return Name(folder, name, None)
            case Op.RENAME:
                assert there is not None
                to_folder, to_name = self._place(step.other)
                del self._entries[folder][name]
                self._entries[to_folder][to_name] = there
                return Move(folder, name, to_folder, to_name, there)
        return Nothing()

    def _new_node(self, *, is_folder: bool) -> int:
        self._nodes += 1
        if is_folder:
            self._entries[self._nodes - 1] = {}
        return self._nodes - 1

    def _find(self, path: str) -> int:
        node = ROOT
        for part in PurePosixPath(path).relative_to(self._root).parts:
            node = self._entries[node][part]
        return node

    def _place(self, path: str) -> tuple[int, str]:
        return self._find(str(PurePosixPath(path).parent)), PurePosixPath(path).name


def _settles_with(change: Change) -> int | None:
    """What has to be flushed for a change to be certain."""
    match change:
        case Name(folder, _, _):
            return folder
        case Move(_, _, to_folder, _, _):
            return to_folder
        case Data(node, _, _) | Size(node, _):
            return node
    return None


def _any(change: Change, before: bool, chance: random.Random) -> Change:
    kind = chance.randrange(6)
    if isinstance(change, Data) and kind == 0:
        return change._replace(content=change.content[: chance.randrange(len(change.content) + 1)])
    if isinstance(change, Data) and kind == 1:
        return _zeros(change)
    return change if kind < 4 else Nothing()


def _zeros(change: Change) -> Change:
    return change._replace(content=bytes(len(change.content))) if isinstance(change, Data) else change


def _is_name(change: Change) -> bool:
    return isinstance(change, Name | Move)


POLICIES = {
    "nothing but what is certain": lambda change, before, chance: Nothing(),
    "everything": lambda change, before, chance: change,
    "everything up to a point": lambda change, before, chance: change if before else Nothing(),
    "names without data": lambda change, before, chance: change if _is_name(change) else Nothing(),
    "names, and zeros for data": lambda change, before, chance: _zeros(change),
    "data without names": lambda change, before, chance: Nothing() if _is_name(change) else change,
    "anything": _any,
}
"""What becomes of a change that is not certain. ``before``: whether it was made before some point."""


def found_in(folder: Path) -> Files:
    """What is there, folders before what is in them."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def lay_out(files: Files, folder: Path) -> None:
    """Make it real."""
    for name, content in files.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
