"""Neuronpedia: the explanations that it exports (``explanations/batch-N.jsonl``), as labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lexiscope.core.config import describe
from lexiscope.core.errors import InputError
from lexiscope.index.notes.values import By, NewLabel

_Plain = Annotated[str, StringConstraints(strip_whitespace=True)]


class _Explanation(BaseModel):
    """What of a row we need; there is more in it."""

    model_config = ConfigDict(extra="ignore")

    index: int
    description: _Plain
    author: str | None = Field(None, alias="authorId")
    method: str | None = Field(None, alias="typeName")
    model: str | None = Field(None, alias="explanationModelName")
    created: AwareDatetime | None = Field(None, alias="createdAt")


def read_neuronpedia(lines: Iterable[str | bytes]) -> Iterator[NewLabel]:
    """Labels, for `Labels.add_many`. Whose features they are is not checked: the file does not say.

    Raises:
        InputError: a line is something else, with its number.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _Explanation.model_validate_json(line)
            yield NewLabel(
                feature=row.index,
                text=row.description,
                by=By(
                    author=f"neuronpedia {row.author or ''}".strip(),
                    kind="model" if row.model else "human",
                    method=row.method or None,
                    model=row.model or None,
                ),
                created_at=row.created,
            )
        except ValidationError as error:
            raise InputError(f"line {number} is no explanation ({describe(error)}); take it out") from None
