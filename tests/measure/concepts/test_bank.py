"""Every concept against hand-marked text.

Oracle: what stands between « and » is positive, every other character is not.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lexiscope.measure.concepts import BANK

MARKED = Path(__file__).with_name("examples.txt")
"""One text per concept, under a line with ``===`` and its name."""


def read_examples() -> dict[str, str]:
    parts = re.split(r"^=== (.*)\n", MARKED.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


EXAMPLES = read_examples()


def unmark(marked: str) -> tuple[str, set[int]]:
    """The text without marks, and which of its characters stood between them."""
    text, positive, inside = "", set(), False
    for character in marked:
        if character in "«»":
            inside = character == "«"
            continue
        if inside:
            positive.add(len(text))
        text += character
    return text, positive


@pytest.mark.parametrize("concept", BANK, ids=lambda concept: concept.name)
def test_concept_on_marked_text(concept):
    text, positive = unmark(EXAMPLES[concept.name])
    found = {place for start, end in concept.find(text) for place in range(start, end)}
    shown = "".join(f"«{character}»" if place in found else character for place, character in enumerate(text))
    assert found == positive, shown.replace("»«", "")
    assert positive
    assert {place for place in range(len(text)) if not text[place].isspace()} - positive


def test_bank_is_large_and_well_described():
    assert len(BANK) >= 60
    assert len({concept.name for concept in BANK}) == len(BANK)
    assert {concept.name for concept in BANK} == set(EXAMPLES)
    for concept in BANK:
        assert concept.definition.endswith(".")
        assert concept.kinds <= {"code", "docs", "prose", "generated"}
        assert concept.kinds


@pytest.mark.parametrize(
    "text", ["", "\n", "'", '"""', "(" * 50, ")" * 50, "def f(", "f'{", "\\", "#", "« é 😀 \u2028"]
)
def test_no_concept_stumbles_over_broken_text(text):
    for concept in BANK:
        for start, end in concept.find(text):
            assert 0 <= start <= end <= len(text), concept.name
