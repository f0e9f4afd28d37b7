"""Room: what every part of the notes has: the file, and whether a feature exists and a value may be kept."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lexiscope.core.config import describe
from lexiscope.core.errors import InputError
from lexiscope.index.notes.database import Database

Model = TypeVar("Model", bound=BaseModel)


class Room:
    """A part of the notes, such as its labels."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def check(self, *features: int) -> None:
        """Raises InputError: there is no feature of this number."""
        count = self.database.dictionary.num_latents
        for feature in features:
            if not 0 <= feature < count:
                raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {count - 1}")

    def valid(self, model: type[Model], **values: Any) -> Model:
        """Raises InputError: a value that can't be kept, with its name."""
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{describe(error)}; change it and try again") from None
