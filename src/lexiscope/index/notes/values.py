"""What people and models write about features: plain typed values, the same for Python, JSON and files.

Text is data of a stranger, also when it was typed by a friend: any characters but NUL, shown with the usual care.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from lexiscope import __version__

TOOL = f"lexiscope {__version__}"
LARGEST = 2**63 - 1
Kind = Literal["human", "model", "heuristic"]


def _storable(text: str) -> str:
    """SQLite ends text at a NUL; a lone surrogate has no UTF-8."""
    if "\0" in text:
        raise ValueError("has a NUL character in it, which can't be kept")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("has half a character in it (a lone surrogate), which can't be kept") from None
    return text


def _utc(when: datetime) -> datetime:
    return when.astimezone(UTC)


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable)]
Text = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_storable)]
LongText = Annotated[str, Field(min_length=1, max_length=100_000), AfterValidator(_storable)]
Description = Annotated[str, Field(max_length=2_000), AfterValidator(_storable)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""In UTC."""


class Value(BaseModel):
    """Something that is not changed once it is there."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


class By(Value):
    """Who wrote something, and with what."""

    author: Name
    kind: Kind = "human"
    method: Name | None = None
    """How it was made, such as the name of a prompt."""
    model: Name | None = None
    prompt_hash: Name | None = None
    tool: Name = TOOL


class Written(Value):
    """A row. One that was replaced or removed is still there, with when and by whom that was."""

    id: Count
    by: By
    created_at: Moment
    ended_at: Moment | None = None
    ended_by: By | None = None


class Measured(Value):
    """A number that says how well a label does."""

    name: Name
    """Of what was measured, such as "detection"."""
    value: float
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None
    n: Count | None = None
    """How many answers or examples it is from."""
    method: Name | None = None


class NewScore(Measured):
    """A score to be written down. None stands for whoever writes, and for now."""

    by: By | None = None
    created_at: Moment | None = None


class Score(Written, Measured):
    """How well a label does. The newest of a name counts."""

    label: Count


class NewLabel(Value):
    """A label to be written down.

    Attributes:
        created_at: None is now.
    """

    feature: Count
    text: Text
    by: By
    created_at: Moment | None = None
    scores: tuple[NewScore, ...] = ()
    ended_at: Moment | None = None
    ended_by: By | None = None


class Label(Written):
    """What somebody says that a feature is about."""

    feature: Count
    text: Text
    score: float | None
    """Mean of the newest score of each name; what the choice goes by."""
    chosen: bool
    """Whether it is the one to show: pinned by somebody, else of the best score, else the newest that a human wrote,
    else the newest."""
    pinned: bool = False
    scores: tuple[Score, ...] = ()


class Pin(Written):
    """Somebody's decision that this label is the one to show."""

    feature: Count
    label: Count


class Rating(Written):
    """What a human said of a feature without knowing which it was. The newest of a rater for the same items counts."""

    feature: Count
    items: Name
    """Hash of what was shown."""
    scale: Name
    value: float


class Bookmark(Written):
    """A feature that somebody wants to find again."""

    feature: Count


class Tag(Written):
    """A word or a few that group features."""

    feature: Count
    text: Name


class Note(Written):
    """Free text on a feature, or on the whole dictionary (no feature)."""

    feature: Count | None = None
    text: LongText
    note: Count
    """Which note this is a version of: the id of its first version."""


class FeatureList(Written):
    """A named list of features."""

    name: Name
    description: Description = ""
    list: Count
    """Which list this is a version of: the id of its first version."""


class ListItem(Written):
    """A feature in a list, and why."""

    list: Count
    feature: Count
    description: Description = ""


class Result(Written):
    """What an experiment on a feature found. The newest under the same conditions counts."""

    feature: Count
    kind: Name
    """Such as "ablation" or "patching"."""
    conditions: Name
    """Hash of everything that the result depends on."""
    payload: Any
    """JSON, to be validated by whoever knows the kind."""


class Added(Value):
    """What came of adding many."""

    added: int
    known: int
    """How many were there already, word for word, and were left as they are."""
