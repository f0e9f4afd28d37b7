"""Tested: what patching and sweeps of a feature's strength found, and patching it when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lexiscope.core.errors import LexiscopeError
from lexiscope.index.notes import Notes
from lexiscope.steer.confirming.pairs import Pair
from lexiscope.steer.experiments import findings
from lexiscope.steer.experiments.findings import NOTHING, Confirmed, Findings
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.notebook import by


def known(dictionary: Dictionary, feature: int) -> Findings:
    """What was found before. Where the notes can't be read the page says so, and here is nothing."""
    try:
        return dictionary.notebook.read(lambda notes: findings.of(notes, feature), NOTHING)
    except LexiscopeError:
        return NOTHING


def confirm(dictionary: Dictionary, feature: int, hypothesis: str, pairs: Sequence[Pair], author: str) -> Confirmed:
    """Patch a feature between pairs of prompts and write down what that finds.

    Raises:
        InputError: it can't be done; the message says why.
    """
    others = torch.tensor(dictionary.index.live_L, dtype=torch.int64)
    found = dictionary.reader.confirm(feature, pairs, hypothesis, others=others)
    written: list[Confirmed] = []

    def keep(notes: Notes) -> None:
        result = findings.keep_confirmation(notes, dictionary.artifact, found, pairs, by(author))
        kept = findings.read(result)
        assert isinstance(kept, Confirmed)
        written.append(kept)

    dictionary.notebook.write(keep)
    return written[0]
