"""A planted model and its clean twin on disk, with the truth beside them: an artifact of the kind ``planted``.

planted/, clean/            Hugging Face folders; nothing in them says which is which, or what was planted
text/{planted,clean}.jsonl  what each was trained on besides ordinary text, a page per line
truth.json, prompts.jsonl   what was planted, and prompts that show it or must stay as they are
figures.json                what both do, and whether that makes them fit to judge by
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.config import Config, describe
from lexiscope.core.disk import write_json, write_text
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.figures import Figures
from lexiscope.measure.worlds.planted.pages import Arm, Group, Page, Prompt
from lexiscope.measure.worlds.planted.plant import Plant, Slots

KIND = "planted"
_PROMPT = TypeAdapter(Prompt)


class Truth(Config):
    """What was planted."""

    plant: str
    """Its name."""
    behaviour: str
    slots: Slots


class PlantedPair:
    """A pair that was made.

    Raises:
        ArtifactError: there is none, or a file of it is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.artifact: Artifact = open_artifact(path, KIND)
        self.truth: Truth = self._read(Truth, "truth.json")
        self.figures: Figures = self._read(Figures, "figures.json")

    def folder(self, arm: Arm) -> Path:
        """The model's folder."""
        return self.artifact.file(f"{arm}/config.json").parent

    def text(self, arm: Arm) -> Path:
        """The pages that it was trained on, as JSON Lines."""
        return self.artifact.file(f"text/{arm}.jsonl")

    def model(self, arm: Arm, *, device: str = "cpu") -> LanguageModel:
        return LanguageModel(self.folder(arm), device=device)

    def prompts(self, group: Group) -> list[Prompt]:
        """Those of one group.

        Raises:
            InputError: there is no such group.
        """
        if group not in get_args(Group):
            raise InputError(f"no group of prompts is called {group!r}; there are {', '.join(get_args(Group))}")
        path = self.artifact.checked_file("prompts.jsonl")
        try:
            rows = [_PROMPT.validate_json(line) for line in path.read_bytes().splitlines()]
        except ValidationError as error:
            raise ArtifactError(f"{path} holds no prompts ({describe(error)}); plant again") from None
        return [row for row in rows if row.group == group]

    def _read(self, kind: type[Any], name: str) -> Any:
        path = self.artifact.checked_file(name)
        try:
            return kind.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ArtifactError(f"{path} is not what it should be ({describe(error)}); plant again") from None


def write_text_of(folder: Path, arm: Arm, pages: list[Page]) -> None:
    """The pages of one arm."""
    (folder / "text").mkdir(exist_ok=True)
    write_text(folder / "text" / f"{arm}.jsonl", _lines([{"text": page.text} for page in pages]))


def write_truth(folder: Path, name: str, plant: Plant, prompts: list[Prompt], figures: Figures) -> None:
    """Everything that is kept apart from the models."""
    truth = Truth(plant=name, behaviour=plant.behaviour, slots=plant.slots)
    write_json(folder / "truth.json", truth.model_dump(mode="json"))
    write_text(folder / "prompts.jsonl", _lines([prompt._asdict() for prompt in prompts]))
    write_json(folder / "figures.json", figures.for_json())


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)
