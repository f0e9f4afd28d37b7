"""Edit: a change of a model, kept to be reviewed, applied whenever the model is loaded, and taken back.

    edit.toml      the interventions, as a recipe; every strength is an activation, so that no index is needed
    report.json    what it is for, by whom, and what it was measured to do

    applied = Edit.open("runs/tour/edit").apply(model)     # from now on, everything goes through the change
    applied.remove()                                       # every bit as before

The weights are not touched. An edit holds for one model and one dictionary, by their fingerprints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import Field, JsonValue, ValidationError

from lexiscope import saes
from lexiscope.core.artifact import Artifact, find_artifacts, open_artifact
from lexiscope.core.config import Config, describe
from lexiscope.core.disk import write_text
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, AnyIntervention, Cap, Clamp
from lexiscope.steer.recipe import Recipe
from lexiscope.steer.strength import Units, in_activation

KIND = "edit"
RECIPE, REPORT = "edit.toml", "report.json"


class Report(Config):
    """What a reviewer wants to know."""

    purpose: str = ""
    author: str = ""
    measured: dict[str, JsonValue] = Field(default_factory=dict)
    """What it was measured to do, as whoever measured it says: effects, collateral damage, intervals."""


class Applied:
    """A model that runs changed until `remove`, or until the end of a ``with`` block."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Leave the model as it was before. A second time there is nothing to do."""
        if self._remove is not None:
            self._remove()
            self._remove = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


@dataclass(frozen=True)
class Edit:
    """A kept change."""

    artifact: Artifact
    recipe: Recipe
    report: Report

    @classmethod
    def open(cls, path: Path | str) -> Edit:
        """Open an artifact of kind "edit".

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        artifact = open_artifact(path, KIND)
        try:
            report = Report.model_validate_json(artifact.checked_file(REPORT).read_bytes())
            recipe = Recipe.read(artifact.checked_file(RECIPE))
        except ValidationError as error:
            raise ArtifactError(f"{artifact.path / REPORT}: {describe(error)}; save the edit again") from None
        except InputError as error:
            raise ArtifactError(f"{error}; save the edit again") from None
        return cls(artifact, recipe, report)

    def apply(self, model: LanguageModel, sae: SparseAutoencoder | None = None) -> Applied:
        """Change a model from now on.

        Args:
            sae: the dictionary. None: the one that the edit was made with, where it lay or beside the edit.

        Raises:
            InputError: another model or another dictionary.
        """
        made_for = self.artifact.manifest["sources"].get("model", {})
        if made_for.get("fingerprint") != model.fingerprint:
            raise InputError(f"{self.artifact.path} changes {made_for.get('name')}, not {model.name}; give that model")
        sae = self.dictionary() if sae is None else sae
        if sae.artifact is None or sae.artifact.fingerprint != self._made_with["fingerprint"]:
            raise InputError(f"{self.artifact.path} was made with another dictionary; give {self._made_with['path']}")
        editor = editing(model, sae, self.recipe.edits, error=self.recipe.error)
        return Applied(model.install(editor.replacements()))

    @property
    def _made_with(self) -> Mapping[str, Any]:
        source = self.artifact.source("sae")
        if source is None:
            raise ArtifactError(f"{self.artifact.path} does not say which dictionary it was made with; save it again")
        return source

    def dictionary(self) -> SparseAutoencoder:
        """The one that it was made with, where that lay or beside the edit.

        Raises:
            InputError: it is in neither place.
        """
        wanted = self._made_with
        beside = self.artifact.path.parent
        for folder in (Path(wanted["path"]), beside, beside.parent):
            for found in find_artifacts(folder):
                if (found.kind, found.fingerprint) == ("sae", wanted["fingerprint"]):
                    return saes.load(found.path)
        raise InputError(f"the dictionary of {self.artifact.path} is not at {wanted['path']}, nor beside it; give it")


def load_edited(source: str | Path, edit: Path | str, **options: Any) -> tuple[LanguageModel, Applied]:
    """A language model that is changed from its first forward pass.

    Args:
        source: as for `LanguageModel`, which the options are for, too.

    Raises:
        InputError: no such model, or the edit is not for it.
    """
    kept = Edit.open(edit)
    model = LanguageModel(source, **options)
    return model, kept.apply(model)


def save_edit(
    out: Path | str,
    recipe: Recipe,
    model: LanguageModel,
    sae: SparseAutoencoder,
    *,
    units: Units | FeatureIndex | None = None,
    report: Report | None = None,
) -> Edit:
    """Keep a change.

    Args:
        units: the index of the dictionary, for strengths such as ``2max``: they are kept as what they are now.

    Raises:
        InputError: nothing to keep, a change that is none of this model and dictionary, a dictionary that is on no
            disk, a mean (which needs the index whenever it is applied), or ``out`` is taken.
    """
    if sae.artifact is None:
        raise InputError("an edit says by its fingerprint which dictionary it is of; save the dictionary first")
    if not recipe.edits:
        raise InputError("there is no intervention to keep; give at least one")
    units = Units(units) if isinstance(units, FeatureIndex) else units
    fixed = Recipe(tuple(one for edit in recipe.edits for one in _in_activations(edit, units)), recipe.error)
    editing(model, sae, fixed.edits, units=units, error=fixed.error)  # whatever is wrong is said now
    config = {"features": sorted({feature for edit in fixed.edits for feature in edit.features or ()})}
    sources = {"model": model.describe()}
    with write_artifact(out, KIND, config=config, made_from=[sae.artifact], sources=sources) as draft:
        write_text(draft.path / RECIPE, fixed.toml())
        write_text(draft.path / REPORT, (report or Report()).model_dump_json(indent=1))
    return Edit.open(out)


def _in_activations(edit: AnyIntervention, units: Units | None) -> Sequence[AnyIntervention]:
    """One intervention per feature, where its strength is another number for each."""
    if isinstance(edit, Ablate) and edit.to == "mean":
        raise InputError("a mean needs the index whenever the edit is applied; clamp to a number, or ablate to zero")
    if not isinstance(edit, Clamp | Add | Cap):
        return [edit]
    name = "by" if isinstance(edit, Add) else "to"
    strength = edit.by if isinstance(edit, Add) else edit.to
    if strength.unit == "activation":
        return [edit]
    return [
        type(edit).model_validate(
            {**edit.model_dump(), "features": [feature], name: in_activation(units, feature, strength)}
        )
        for feature in edit.features
    ]
