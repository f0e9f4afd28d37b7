"""Survey: everything under a folder, whole or not, what each was made from, and work that was interrupted.

Only manifests and the sizes of files are looked at; `lexiscope verify` reads the bytes. What an artifact was made from
is looked for under the folder that is shown and nowhere else: a manifest may name any path.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lexiscope.core.artifact import FORMAT_VERSIONS, LANDMARKS, Artifact, open_artifact
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.lock import LOCK
from lexiscope.core.manifest import MANIFEST, read_checkpoint_manifest
from lexiscope.core.places import artifact_manifest
from lexiscope.web.view import View

Kind = Literal["corpus", "model", "store", "sae", "scorecard", "index", "unknown"]
State = Literal["whole", "damaged", "other version", "missing"]
_KINDS: Mapping[str, Kind] = {"store": "store", "sae": "sae", "scorecard": "scorecard", "index": "index"}
_MARKS = {MANIFEST, *LANDMARKS.values()}
_MOST_QUOTED = 400


class Node(View):
    """An artifact, or something that artifacts were made from."""

    key: str
    """Unique among the nodes of a group."""
    kind: Kind
    name: str
    detail: str
    """A few words on what it is."""
    path: str | None
    """Relative to the folder that is shown; None if it is not in there."""
    fingerprint: str
    made: str
    """When, ISO 8601; empty if nobody can tell."""
    num_bytes: int
    state: State
    remarks: list[str]
    """What is wrong with it or with what it was made from."""
    moved: list[str]
    """Which of its sources lay elsewhere when it was made; the same bytes were found here."""
    dictionary: str | None = None
    """The dictionary whose pages show it."""


class Link(View):
    """One thing was made from another."""

    source: str
    target: str


class Group(View):
    """A run folder: its artifacts, and what they were made from wherever that lies."""

    name: str
    nodes: list[Node]
    links: list[Link]
    """Only the nearest: what a source was made from is not linked again."""


class Unfinished(View):
    """Work that was interrupted, or that goes on right now."""

    path: str
    """What it will be called, relative to the folder that is shown."""
    kind: str
    step: int | None
    """Of the newest checkpoint; None: it starts again."""
    running: bool


class Found(NamedTuple):
    """One folder that is, or was, an artifact."""

    path: Path
    artifact: Artifact | None
    manifest: Mapping[str, Any]
    """As far as it can be read."""
    state: State
    remark: str


class Survey(NamedTuple):
    """What lies under a folder, in order of path."""

    found: list[Found]
    unfinished: list[Unfinished]


def look(root: Path) -> Survey:
    """Everything under a folder. What can't be read, what is hidden, and where links lead, is left out."""
    found, unfinished = [], []
    for parent, folders, files in os.walk(root):
        folder = Path(parent)
        if _MARKS & set(files):
            found.append(_look_at(folder))
            folders.clear()
            continue
        unfinished += [_unfinished(folder / name, root) for name in folders if _is_work(name)]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return Survey(found, sorted(unfinished, key=lambda work: work.path))


def groups(root: Path, found: Sequence[Found], dictionaries: Mapping[Path, str]) -> list[Group]:
    """The artifacts by run folder, linked.

    Args:
        dictionaries: folder of an artifact → name of the dictionary whose pages show it.
    """
    by_group: dict[str, list[Found]] = {}
    for one in found:
        by_group.setdefault(_group_of(one.path, root), []).append(one)
    return [_Linker(root, found, dictionaries, name).group(members) for name, members in by_group.items()]


class _Linker:
    """Collects the nodes and links of one group."""

    def __init__(self, root: Path, found: Sequence[Found], dictionaries: Mapping[Path, str], group: str) -> None:
        self._root, self._group = root, group
        self._dictionaries = dictionaries
        self._by_print: dict[tuple[str, str], list[Found]] = {}
        for one in found:
            if one.manifest:
                self._by_print.setdefault((one.manifest["kind"], one.manifest["fingerprint"]), []).append(one)
        self._by_path = {one.path: one for one in found}
        self._nodes: dict[str, Node] = {}
        self._sources: dict[str, list[str]] = {}

    def group(self, members: Sequence[Found]) -> Group:
        for one in members:
            self._add(one)
        links = [
            Link(source=source, target=target)
            for target, sources in self._sources.items()
            for source in sources
            if not any(source in self._before(other) for other in sources if other != source)
        ]
        return Group(name=self._group or self._root.name, nodes=list(self._nodes.values()), links=links)

    def _add(self, one: Found) -> str:
        key = str(one.path)
        if key in self._nodes:
            return key
        path = one.path.relative_to(self._root).as_posix()
        kind = _KINDS.get(str(one.manifest.get("kind", "")), _kind_by_file(one.path))
        name = path if _group_of(one.path, self._root) != self._group else path.removeprefix(f"{self._group}/")
        self._nodes[key] = node = Node(
            key=key,
            kind=kind,
            name=self._root.name if name == "." else name,
            detail=_detail(kind, one.manifest),
            path=path,
            fingerprint=str(one.manifest.get("fingerprint", "")),
            made=str(one.manifest.get("created", "")),
            num_bytes=sum(entry["bytes"] for entry in one.manifest.get("files", {}).values()),
            state=one.state,
            remarks=[],
            moved=[],
            dictionary=self._dictionaries.get(one.path),
        )
        remarks, moved = ([one.remark] if one.remark else []), list[str]()
        sources = [self._source(one, entry, remarks, moved) for entry in one.manifest.get("made_from", [])]
        self._nodes[key] = node.model_copy(update={"remarks": remarks, "moved": moved})
        self._sources[key] = list(dict.fromkeys(sources or self._origins(one.manifest)))
        return key

    def _source(self, one: Found, entry: Mapping[str, str], remarks: list[str], moved: list[str]) -> str:
        """The node of what an artifact was made from; what is odd about it is added to the sentences."""
        kind, stated = entry["kind"], Path(entry["path"])
        what = "SAE" if kind == "sae" else kind
        same = self._by_print.get((kind, entry["fingerprint"]), [])
        places = [stated, one.path.parent / stated.name]
        for place in places:
            if nearest := next((other for other in same if other.path == place), None):
                if place != stated:
                    moved.append(f"Its {what} was at {_words(stated)} then.")
                return self._add(nearest)
        if same:
            moved.append(f"Its {what} was at {_words(stated)} then.")
            return self._add(same[0])
        other = next((self._by_path[place] for place in places if place in self._by_path), None)
        if other is not None and not other.manifest:
            return self._add(other)  # most likely this one; what is wrong is said there
        if other is not None and other.manifest["kind"] == kind:
            where = other.path.relative_to(self._root).as_posix()
            said = f"The {what} that it was made from is not here: the one at {where} is another."
        else:
            said = f"The {what} that it was made from is not under this folder; it was at {_words(stated)}."
        remarks.append(said)
        key = f"{kind} {entry['fingerprint']}"
        if key not in self._nodes:
            self._nodes[key] = Node(
                key=key,
                kind=_KINDS.get(kind, "unknown"),
                name=_words(Path(stated.name)),
                detail="not here",
                path=None,
                fingerprint=entry["fingerprint"],
                made="",
                num_bytes=0,
                state="missing",
                remarks=[said],
                moved=[],
            )
            self._sources[key] = self._origins(one.manifest)
        return key

    def _origins(self, manifest: Mapping[str, Any]) -> list[str]:
        """Nodes of text and model."""
        keys = []
        said = manifest.get("sources", {})
        corpus, model = said.get("corpus", {}), said.get("model", {})
        if corpus.get("source"):
            shown = short_corpus(str(corpus["source"]))
            licences = ", ".join(str(licence) for licence in corpus.get("licences", []))
            keys.append(self._origin("corpus", shown, licences, str(corpus.get("fingerprint", corpus["source"]))))
        if model.get("name"):
            shown, family = short_model(str(model["name"])), str(model.get("family", ""))
            keys.append(self._origin("model", shown, family, str(model.get("fingerprint", ""))))
        return keys

    def _origin(self, kind: Literal["corpus", "model"], name: str, detail: str, fingerprint: str) -> str:
        key = f"{kind} {fingerprint} {name}"
        self._nodes.setdefault(
            key,
            Node(
                key=key,
                kind=kind,
                name=name,
                detail=detail,
                path=None,
                fingerprint=fingerprint,
                made="",
                num_bytes=0,
                state="whole",
                remarks=[],
                moved=[],
            ),
        )
        self._sources.setdefault(key, [])
        return key

    def _before(self, key: str) -> set[str]:
        """Everything that something was made from, also by way of others."""
        seen: set[str] = set()
        waiting = [key]
        while waiting:
            for source in self._sources.get(waiting.pop(), []):
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
        return seen


def short_model(name: str) -> str:
    """A model from a folder goes by the folder's name; a name of the hub stays whole."""
    return Path(name).name if Path(name).is_absolute() else name


def short_corpus(source: str) -> str:
    """A path goes by its last part, even a piece of one that has a ``+`` in it; names stay whole."""
    return "+".join(part if part.startswith("hf:") else Path(part).name for part in source.split("+"))


def _look_at(folder: Path) -> Found:
    folder = folder.absolute()
    try:
        manifest = artifact_manifest(folder)
    except ArtifactError as error:
        return Found(folder, None, {}, "damaged", _sentence(error))
    known = FORMAT_VERSIONS.get(manifest["kind"])
    try:
        return Found(folder, open_artifact(folder, manifest["kind"]), manifest, "whole", "")
    except ArtifactError as error:
        state: State = "damaged" if manifest["format_version"] == known else "other version"
        return Found(folder, None, manifest, state, _sentence(error))


def _unfinished(work: Path, root: Path) -> Unfinished:
    final = work.with_name(work.name[1 : -len(".work")])
    try:
        numbers = [int(path.name) for path in (work / "checkpoints").iterdir() if path.name.isdecimal()]
    except OSError:
        numbers = []
    kind = "artifact"
    if numbers:
        newest = max((work / "checkpoints").iterdir(), key=lambda path: path.name)
        try:
            kind = str(read_checkpoint_manifest(newest)["identity"].get("kind", kind))
        except (InputError, OSError):
            kind = "artifact"  # the run goes on from an older one, or starts again
    return Unfinished(
        path=_words(final.relative_to(root)),
        kind=kind,
        step=max(numbers, default=None),
        running=_is_running(work),
    )


def _is_running(work: Path) -> bool:
    """Whether the process that a lock names is alive on this machine. The lock itself is not touched."""
    try:
        process, host = json.loads((work / LOCK).read_bytes()[:1024])
        if host != socket.gethostname() or not 0 < int(process) < 2**31:
            return False
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError):
        return False
    return True


def _is_work(name: str) -> bool:
    return name.startswith(".") and name.endswith(".work")


def _group_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _kind_by_file(folder: Path) -> Kind:
    """What lies in a folder without a manifest, by a file that is nowhere else."""
    kind = next((kind for kind, name in LANDMARKS.items() if (folder / name).is_file()), "")
    return _KINDS.get(kind, "unknown")


def _detail(kind: Kind, manifest: Mapping[str, Any]) -> str:
    config = manifest.get("config", {})
    if kind == "store" and isinstance(manifest.get("num_tokens"), int):
        return f"{manifest['num_tokens']:,} tokens"
    if kind == "sae" and isinstance(config.get("sae"), dict):
        size = config.get("num_latents")
        size = f", {size:,} latents" if isinstance(size, int) else ""
        return one_line(f"{config['sae'].get('architecture', '')}{size}", 60)
    if kind == "index" and isinstance(config.get("num_latents"), int):
        return f"{config['num_latents']:,} features"
    return ""


def _sentence(error: Exception) -> str:
    text = one_line(str(error), _MOST_QUOTED)
    return f"{text[:1].upper()}{text[1:]}."


def _words(path: Path) -> str:
    """A path that may have bytes in it which are no text."""
    return one_line(os.fsencode(path).decode("utf-8", "backslashreplace"), _MOST_QUOTED)
