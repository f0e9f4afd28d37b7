"""Oracle: a folder laid out as the Hugging Face hub's cache, and a network that notes who calls."""

from __future__ import annotations

import socket

import pytest

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError
from lexiscope.web.reader import TextReader

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def calls(monkeypatch, tmp_path) -> list[object]:
    """Host names that were looked up; the cache is empty."""
    seen: list[object] = []

    def note(host, *_, **__):
        seen.append(host)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", note)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return seen


def reader_of(name: str, revision: str | None, tmp_path) -> TextReader:
    model = {"name": name, "revision": revision, "fingerprint": "f"}
    index = Artifact(tmp_path, {"config": {"hook": "resid_post.2"}, "sources": {"model": model}})
    return TextReader(index, index)


@pytest.mark.parametrize(
    ("name", "revision"), [("someone/some-model", COMMIT), ("gpt2", None), ("../../etc", None), ("a/b/c", "main")]
)
def test_a_model_that_is_not_here_is_not_fetched(calls, tmp_path, name, revision):
    with pytest.raises(InputError, match="not on this machine"):
        reader_of(name, revision, tmp_path).read("text")
    assert calls == []


def test_a_model_that_was_fetched_before_is_found(calls, tmp_path):
    """The one in this cache is empty, which only somebody who looked there can tell."""
    (tmp_path / "models--someone--some-model" / "snapshots" / COMMIT).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{COMMIT} holds no config.json"):
        reader_of("someone/some-model", COMMIT, tmp_path).read("text")
    assert calls == []


def test_a_model_in_a_folder_is_read_where_it_was(calls, tmp_path):
    with pytest.raises(InputError, match="no model folder at /nowhere/small"):
        reader_of("/nowhere/small", None, tmp_path).read("text")
    assert calls == []
