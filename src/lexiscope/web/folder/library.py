"""Library: the dictionaries under a folder, each an index with the SAE it describes and that SAE's scorecard."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lexiscope.core.artifact import Artifact, find_artifacts, open_artifact
from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.core.manifest import MANIFEST
from lexiscope.index.directions.clusters import Clusters
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.measure.scorecard import Scorecard
from lexiscope.web.atlas import Places, places
from lexiscope.web.folder.scores import MatchedConcept, matched_concepts
from lexiscope.web.folder.survey import Survey, look
from lexiscope.web.notebook import Notebook
from lexiscope.web.reader import TextReader


class UnknownDictionaryError(InputError):
    """No dictionary has this name."""


class Dictionary:
    """An index, and the other artifacts of the same SAE where they are there.

    Attributes:
        name: what it is called in addresses: letters, digits, ``-`` and ``_``.
    """

    def __init__(self, name: str, index: Artifact, sae: Artifact | None, scorecard: Artifact | None) -> None:
        self.name = name
        self.artifact = index
        self.sae = sae
        self._scorecard = scorecard
        self._parts = [part for part in (index, sae, scorecard) if part]
        self._writings = [_writing(part) for part in self._parts]
        self._opening = threading.Lock()

    @classmethod
    def of(cls, name: str, index: Artifact, others: Sequence[Artifact]) -> Dictionary:
        """An index, and those of the other artifacts that belong to its SAE."""
        made_from = index.source("sae")
        sae = next((item for item in others if item.kind == "sae" and _same(item, made_from)), None)
        scorecards = [item for item in others if item.kind == "scorecard"]
        scorecard = next((item for item in scorecards if _same_source(item, made_from)), None)
        return cls(name, index, sae, scorecard)

    def same_as(self, other: Dictionary) -> bool:
        """Whether both are of the same writing of the same folders."""
        return self._writings == other._writings

    def has(self, artifact: Artifact) -> bool:
        """Whether this artifact is one of its own."""
        return any(part.path == artifact.path for part in self._parts)

    def changed(self) -> bool:
        """Whether one of its folders has been removed or written again since it was found."""
        return self._writings != [_writing(part) for part in self._parts]

    @property
    def folders(self) -> list[Path]:
        """Of its artifacts."""
        return [part.path for part in self._parts]

    @property
    def index(self) -> FeatureIndex:
        """Opened when it is first looked into, once, however many look at the same time."""
        with self._opening:
            return self._index

    @cached_property
    def _index(self) -> FeatureIndex:
        return FeatureIndex(self.artifact)

    @cached_property
    def scorecard(self) -> Scorecard | None:
        """None if there is none."""
        return Scorecard.open(self._scorecard.path) if self._scorecard else None

    @cached_property
    def concepts(self) -> dict[int, list[MatchedConcept]]:
        """Feature → the concepts it tells best."""
        return matched_concepts(self.scorecard) if self.scorecard else {}

    @cached_property
    def places(self) -> Places | None:
        """Where its features lie on the map, worked out when it is first drawn; None where the SAE is not there."""
        return places(self.index, self.sae) if self.sae else None

    @cached_property
    def clusters(self) -> Clusters:
        """Groups of features with close directions, worked out when they are first asked for."""
        return self.index.clusters(self.width)

    @property
    def width(self) -> int | None:
        """Of the decoder directions; None where the SAE is not there."""
        width = self.sae.config.get("output_width") if self.sae else None
        return width if isinstance(width, int) else None

    @cached_property
    def notebook(self) -> Notebook:
        return Notebook(self.artifact)

    @cached_property
    def reader(self) -> TextReader:
        return TextReader(self.artifact, self.sae)


class Sibling(NamedTuple):
    """Another SAE of the same place of the same model."""

    name: str
    artifact: Artifact
    num_features: int
    dictionary: Dictionary | None
    """None where it was not indexed."""
    same_settings: bool
    """It was trained with the same settings but for the seed."""


def open_run(run: Path) -> Dictionary:
    """The dictionary of a run folder: its ``index``, and its ``sae`` and ``scorecard`` where they belong to it.

    Raises:
        InputError: it holds no index, or one of the three is damaged.
    """
    run = run.absolute()
    if not (run / "index").is_dir():
        raise InputError(f"{run} holds no index; give the folder of a run")
    index = open_artifact(run / "index", "index")
    others = [open_artifact(run / kind, kind) for kind in ("sae", "scorecard") if (run / kind).is_dir()]
    return Dictionary.of(_name(index.path, run, taken=()), index, others)


class Library:
    """Everything under one folder.

    Args:
        read_only: pages offer nothing that would change anything; the guard is what refuses it.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root.absolute()
        self.read_only = read_only
        self._lock = threading.Lock()
        self._dictionaries: dict[str, Dictionary] = {}
        self._scorecards: dict[str, tuple[Artifact, Scorecard | None]] = {}
        self._saes: list[Artifact] = []

    def dictionaries(self) -> list[Dictionary]:
        """What is in the folder now, in order of path. What was open before and has not changed stays open."""
        with self._lock:
            artifacts = list(find_artifacts(self.root))
            found: dict[str, Dictionary] = {}
            for index in artifacts:
                if index.kind != "index":
                    continue
                name = _name(index.path, self.root, taken=found)
                fresh = Dictionary.of(name, index, artifacts)
                known = self._dictionaries.get(name)
                found[name] = known if known and known.same_as(fresh) else fresh
            self._dictionaries = found
            self._saes = [item for item in artifacts if item.kind == "sae"]
            self._scorecards = {
                item.path.relative_to(self.root).as_posix(): (item, None)
                for item in artifacts
                if item.kind == "scorecard"
            }
            return list(found.values())

    def survey(self) -> Survey:
        """Everything that lies in the folder now, whole or not."""
        return look(self.root)

    def other_scorecards(self, dictionary: Dictionary) -> list[tuple[str, Scorecard]]:
        """Where the other scorecards were when the folder was last looked through, and what they say."""
        found = []
        for name, (artifact, known) in list(self._scorecards.items()):
            if dictionary.has(artifact):
                continue
            with contextlib.suppress(LexiscopeError):  # gone since, or damaged
                scorecard = known or Scorecard.open(artifact.path)
                self._scorecards[name] = (artifact, scorecard)
                found.append((name.removesuffix("/scorecard"), scorecard))
        return found

    def siblings(self, dictionary: Dictionary) -> list[Sibling]:
        """The other SAEs of the same place, when the folder was last looked through; equal settings first."""
        if dictionary.sae is None:
            return []
        own = dictionary.sae
        known = {one.sae.fingerprint: one for one in self._dictionaries.values() if one.sae}
        found: dict[str, Sibling] = {}
        for item in self._saes:
            size = item.config.get("num_latents")
            if (
                item.fingerprint in {own.fingerprint, *found}
                or _place(item) != _place(own)
                or not isinstance(size, int)
            ):
                continue
            found[item.fingerprint] = Sibling(
                item.path.relative_to(self.root).as_posix().removesuffix("/sae"),
                item,
                size,
                known.get(item.fingerprint),
                _settings(item) == _settings(own),
            )
        return sorted(found.values(), key=lambda one: (not one.same_settings, one.name))

    def dictionary(self, name: str) -> Dictionary:
        """The dictionary of a name, as it is on disk now.

        Raises:
            UnknownDictionaryError: there is no dictionary of this name.
        """
        known = self._dictionaries.get(name)
        if known is None or known.changed():
            self.dictionaries()
            known = self._dictionaries.get(name)
        if known is None:
            raise UnknownDictionaryError(f"there is no dictionary {name!r} under {self.root}")
        return known


def _name(path: Path, root: Path, taken: Container[str]) -> str:
    """A name for addresses: ``runs/demo/index`` is ``demo``, whether ``runs`` is shown or ``runs/demo``."""
    parts = [part for part in path.relative_to(root).parts if part != "index"] or [root.name]
    name = re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(parts)).strip("-") or "index"
    number = 1
    while (unique := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return unique


def _writing(artifact: Artifact) -> tuple[object, ...]:
    """Tells an artifact from the next one that is written in its place: that one's manifest is another file."""
    try:
        status = (artifact.path / MANIFEST).stat()
    except OSError:
        return (artifact.path, artifact.fingerprint)
    return (artifact.path, artifact.fingerprint, status.st_ino, status.st_mtime_ns)


def _place(sae: Artifact) -> tuple[object, ...]:
    """Of which model, and where in it its directions are."""
    model = sae.manifest.get("sources", {}).get("model", {}).get("fingerprint")
    return (model, sae.config.get("writes"), sae.config.get("output_width"))


def _settings(sae: Artifact) -> dict[str, object]:
    """Everything that it was trained with but the seed."""
    train = sae.config.get("train")
    if isinstance(train, dict):
        train = {key: value for key, value in train.items() if key not in {"seed", "data_seed"}}
    return {"sae": sae.config.get("sae"), "train": train, "reads": sae.config.get("reads")}


def _same(artifact: Artifact, entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and artifact.fingerprint == entry["fingerprint"]


def _same_source(artifact: Artifact, entry: Mapping[str, Any] | None) -> bool:
    """Whether an artifact was made from the same SAE."""
    own = artifact.source("sae")
    return own is not None and entry is not None and own["fingerprint"] == entry["fingerprint"]
