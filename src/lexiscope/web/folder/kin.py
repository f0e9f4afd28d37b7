"""Kin: the artifacts of a survey by run folder, each linked with what it was made from.

What an artifact was made from is looked for under the folder that is shown and nowhere else: a manifest may name any
path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lexiscope.core.artifact import LANDMARKS
from lexiscope.core.errors import one_line
from lexiscope.web.folder.survey import Found, State, words
from lexiscope.web.view import View

Kind = Literal["corpus", "model", "store", "sae", "scorecard", "index", "edit", "unknown"]
_KINDS: Mapping[str, Kind] = {
    "store": "store",
    "sae": "sae",
    "scorecard": "scorecard",
    "index": "index",
    "edit": "edit",
}

EDITS = "edits"
"""The folder in a run that pages keep edits in."""


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
        shown = self._nodes[sources[0]].dictionary if kind == "edit" and sources else node.dictionary
        self._nodes[key] = node.model_copy(update={"remarks": remarks, "moved": moved, "dictionary": shown})
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
                    moved.append(f"Its {what} was at {words(stated)} then.")
                return self._add(nearest)
        if same:
            moved.append(f"Its {what} was at {words(stated)} then.")
            return self._add(same[0])
        other = next((self._by_path[place] for place in places if place in self._by_path), None)
        if other is not None and not other.manifest:
            return self._add(other)  # most likely this one; what is wrong is said there
        if other is not None and other.manifest["kind"] == kind:
            where = other.path.relative_to(self._root).as_posix()
            said = f"The {what} that it was made from is not here: the one at {where} is another."
        else:
            said = f"The {what} that it was made from is not under this folder; it was at {words(stated)}."
        remarks.append(said)
        key = f"{kind} {entry['fingerprint']}"
        if key not in self._nodes:
            self._nodes[key] = Node(
                key=key,
                kind=_KINDS.get(kind, "unknown"),
                name=words(Path(stated.name)),
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


def _group_of(path: Path, root: Path) -> str:
    """The run folder, also of what lies in its folder of edits."""
    parts = (path.parent if path.parent.name == EDITS else path).relative_to(root).parts
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
    if kind == "edit" and isinstance(config.get("features"), list):
        number = len(config["features"])
        return f"{number:,} feature{'' if number == 1 else 's'}"
    return ""
