from __future__ import annotations

import pytest

from lexiscope.index.notes import By, Dictionary, Notes

SAE = Dictionary("f" * 64, 1000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index.notes.sqlite"


@pytest.fixture
def notes(path):
    with Notes(path, SAE) as opened:
        yield opened


@pytest.fixture
def ana():
    return By(author="ana")


@pytest.fixture
def gpt():
    return By(author="gpt", kind="model", method="top-20", model="gpt-x", prompt_hash="abc")
