"""Findings: what experiments on features found, kept in the notes beside the index for pages and other people.

Two kinds of result: "patching" (`confirm`) and "dose-response" (`dose_response`). What was asked is kept with what was
found, so that it can be read and run again; who asks the same of the same index and model replaces what was there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError
from lexiscope.index.feature import Record
from lexiscope.index.notes import By, Notes, Result
from lexiscope.steer.confirming.confirm import Confirmation
from lexiscope.steer.confirming.pairs import Pair
from lexiscope.steer.effects.doses import DoseResponse

PATCHING = "patching"
DOSES = "dose-response"
_VERSION = 2
"""Of what is kept and of how it is measured: a result of another version does not replace this one's."""


class Patched(Record):
    """A feature that was patched between pairs of prompts, as it is kept."""

    confirmation: Confirmation
    pairs: list[Pair]
    seed: int


class Swept(Record):
    """A feature whose strength was swept, as it is kept."""

    dose_response: DoseResponse
    asked: dict[str, JsonValue]
    """The goal, the text it was judged on, and whatever else the result depends on."""


class Confirmed(Patched):
    """The same with who found it, and when."""

    result: int
    """Its number in the notes."""
    found_at: datetime
    found_by: str


class Dosed(Swept):
    """The same with who found it, and when."""

    result: int
    """Its number in the notes."""
    found_at: datetime
    found_by: str


class Findings(Record):
    """What was found about one feature, newest first."""

    confirmations: list[Confirmed]
    dose_responses: list[Dosed]
    unreadable: int
    """Results of these kinds that this version can't read: another version's, or somebody else's."""


NOTHING = Findings(confirmations=[], dose_responses=[], unreadable=0)


def keep_confirmation(
    notes: Notes, index: Artifact, found: Confirmation, pairs: Sequence[Pair], by: By, *, seed: int = 0
) -> Result:
    """Write down what patching found.

    Args:
        pairs: the ones that were patched.

    Raises:
        InputError: these are not as many pairs as were patched, or the notes can't be written.
    """
    if len(pairs) != found.pairs:
        raise InputError(f"{found.pairs} pairs were patched and {len(pairs)} are given; keep those that were patched")
    kept = Patched(confirmation=found, pairs=list(pairs), seed=seed)
    asked = {"hypothesis": found.hypothesis, **kept.model_dump(mode="json", include={"pairs", "seed"})}
    return notes.results.put(found.feature, PATCHING, _conditions(index, PATCHING, asked), kept, by)


def keep_dose_response(
    notes: Notes, index: Artifact, found: DoseResponse, asked: Mapping[str, JsonValue], by: By
) -> Result:
    """Write down what a sweep of strengths found.

    Args:
        asked: everything that it depends on but the index and the model: goal, text, strengths, limit, seed.

    Raises:
        InputError: the notes can't be written.
    """
    kept = Swept(dose_response=found, asked=dict(asked))
    return notes.results.put(found.feature, DOSES, _conditions(index, DOSES, asked), kept, by)


def of(notes: Notes, feature: int) -> Findings:
    """What was found about a feature; what can't be read is counted and left out."""
    confirmations, dose_responses, unreadable = [], [], 0
    for result in notes.results.of(feature):
        if result.kind in (PATCHING, DOSES):
            match read(result):
                case Confirmed() as confirmed:
                    confirmations.append(confirmed)
                case Dosed() as dosed:
                    dose_responses.append(dosed)
                case None:
                    unreadable += 1
    return Findings(confirmations=confirmations, dose_responses=dose_responses, unreadable=unreadable)


def read(result: Result) -> Confirmed | Dosed | None:
    """A result of one of the two kinds; None where it can't be read."""
    if not isinstance(result.payload, dict):
        return None
    found = {**result.payload, "result": result.id, "found_at": result.created_at, "found_by": result.by.author}
    try:
        json.dumps(result.payload, allow_nan=False)  # somebody's file may say 1e999
        return (Confirmed if result.kind == PATCHING else Dosed).model_validate(found)
    except ValueError:  # pydantic's, too
        return None


def _conditions(index: Artifact, kind: str, asked: Mapping[str, Any]) -> str:
    """Hash of everything that the result depends on."""
    said = {
        "kind": kind,
        "index": index.fingerprint,
        "model": index.manifest["sources"].get("model", {}).get("fingerprint"),
        "asked": asked,
        "version": _VERSION,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
