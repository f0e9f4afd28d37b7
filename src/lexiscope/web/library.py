"""Library: the dictionaries under a folder, each an index with the SAE it describes and that SAE's scorecard."""

from __future__ import annotations

import re
import threading
from collections.abc import Container, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lexiscope.core.artifact import Artifact, find_artifacts
from lexiscope.core.errors import InputError
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.measure.scorecard import Scorecard
from lexiscope.web.reader import TextReader
from lexiscope.web.scores import MatchedConcept, matched_concepts


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
        self.identity = tuple(part and (part.path, part.fingerprint) for part in (index, sae, scorecard))

    @cached_property
    def index(self) -> FeatureIndex:
        """Opened when it is first looked into."""
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
    def reader(self) -> TextReader:
        return TextReader(self.artifact, self.sae)


def open_run(run: Path) -> Dictionary:
    """The only dictionary of a run folder.

    Raises:
        InputError: there is none, or more than one.
    """
    found = Library(run).dictionaries()
    if len(found) != 1:
        raise InputError(f"{run} holds {len(found) or 'no'} indexes, one is needed; give the folder of one run")
    return found[0]


class Library:
    """Everything under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock = threading.Lock()
        self._dictionaries: dict[str, Dictionary] = {}

    def dictionaries(self) -> list[Dictionary]:
        """What is in the folder now, in order of path. What was open before and has not changed stays open."""
        with self._lock:
            artifacts = list(find_artifacts(self.root))
            found: dict[str, Dictionary] = {}
            for index in artifacts:
                if index.kind != "index":
                    continue
                name = _name(index.path, self.root, taken=found)
                made_from = index.source("sae")
                sae = next((item for item in artifacts if item.kind == "sae" and _same(item, made_from)), None)
                scorecards = [item for item in artifacts if item.kind == "scorecard"]
                scorecard = next((item for item in scorecards if _same_source(item, made_from)), None)
                fresh = Dictionary(name, index, sae, scorecard)
                known = self._dictionaries.get(name)
                found[name] = known if known and known.identity == fresh.identity else fresh
            self._dictionaries = found
            return list(found.values())

    def dictionary(self, name: str) -> Dictionary:
        """Raises:
        UnknownDictionaryError: there is no dictionary of this name.
        """
        if name not in self._dictionaries:
            self.dictionaries()
        if name not in self._dictionaries:
            raise UnknownDictionaryError(f"there is no dictionary {name!r} under {self.root}")
        return self._dictionaries[name]


def _name(path: Path, root: Path, taken: Container[str]) -> str:
    """A name for addresses: ``runs/demo/index`` is ``demo``, whether ``runs`` is shown or ``runs/demo``."""
    parts = [part for part in path.relative_to(root).parts if part != "index"] or [root.name]
    name = re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(parts)).strip("-") or "index"
    number = 1
    while (unique := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return unique


def _same(artifact: Artifact, entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and artifact.fingerprint == entry["fingerprint"]


def _same_source(artifact: Artifact, entry: Mapping[str, Any] | None) -> bool:
    """Whether an artifact was made from the same SAE."""
    own = artifact.source("sae")
    return own is not None and entry is not None and own["fingerprint"] == entry["fingerprint"]
