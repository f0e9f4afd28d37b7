"""Artifacts on disk. Oracle: what the file system holds after a write that ended, or did not."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.artifact import find_artifacts, open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.manifest import MANIFEST, read_manifest, write_sealed


def make(out: Path, content: bytes = b"weights", kind: str = "sae") -> Path:
    with write_artifact(out, kind, config={"k": 3}, seed=1) as draft:
        (draft.path / "data.bin").write_bytes(content)
        draft.notes["note"] = "kept"
    return out


def test_what_is_written_is_read(tmp_path: Path) -> None:
    artifact = open_artifact(make(tmp_path / "a"), "sae")
    assert artifact.config == {"k": 3}
    assert artifact.manifest["note"] == "kept"
    assert artifact.manifest["files"]["data.bin"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    artifact.verify()


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    contents = {"a": b"x", "b": b"x", "c": b"y"}
    a, b, c = (open_artifact(make(tmp_path / name, content), "sae") for name, content in contents.items())
    assert a.fingerprint == b.fingerprint != c.fingerprint


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), write_artifact(tmp_path / "a", "sae", config={}) as draft:
        (draft.path / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(InputError, match="exists already"), write_artifact(tmp_path / "a", "sae", config={}):
        raise AssertionError


def test_made_from_names_the_source(tmp_path: Path) -> None:
    source = open_artifact(make(tmp_path / "store", kind="store"), "store")
    with write_artifact(tmp_path / "b", "sae", config={}, made_from=[source]):
        pass
    entry = open_artifact(tmp_path / "b", "sae").source("store")
    assert entry is not None
    assert entry["fingerprint"] == source.fingerprint


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "data.bin").unlink(), "data.bin is missing"),
        (lambda path: (path / "data.bin").write_bytes(b"short"), "truncated"),
        (lambda path: (path / MANIFEST).unlink(), "no manifest.json"),
        (lambda path: (path / MANIFEST).write_text("{"), "damaged or was edited"),
        (lambda path: write_sealed(path / MANIFEST, {"kind": 3}), "not a manifest"),
        (lambda path: (path / MANIFEST).write_bytes(b"\xff\xfe"), "can't be read"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage, message: str) -> None:
    path = make(tmp_path / "a")
    damage(path)
    with pytest.raises(ArtifactError, match=message):
        open_artifact(path, "sae")


def test_a_changed_byte_is_found_by_verify(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    (path / "data.bin").write_bytes(b"weighty")
    with pytest.raises(ArtifactError, match="data.bin is damaged"):
        open_artifact(path, "sae").verify()


def test_another_kind_and_another_version_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    with pytest.raises(ArtifactError, match="is a sae, but a store is needed"):
        open_artifact(path, "store")
    write_sealed(path / MANIFEST, read_manifest(path) | {"format_version": 99})
    with pytest.raises(ArtifactError, match="has format 99"):
        open_artifact(path, "sae")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\b"])
def test_no_file_outside_the_folder(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "a")
    manifest = read_manifest(path)
    manifest["files"][name] = manifest["files"]["data.bin"]
    write_sealed(path / MANIFEST, manifest)
    with pytest.raises(ArtifactError, match="not a manifest"):
        open_artifact(path, "sae")


def test_find_leaves_out_what_is_damaged(tmp_path: Path) -> None:
    make(tmp_path / "good")
    make(tmp_path / "deep" / "also good")
    (make(tmp_path / "bad") / "data.bin").unlink()
    assert [artifact.path.name for artifact in find_artifacts(tmp_path)] == ["also good", "good"]


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_manifest_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("a")
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError):
        read_manifest(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["kind", "format_version", "fingerprint", "config", "made_from", "sources", "files", "seed"]


@settings(max_examples=200, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(KEYS), json_values | st.just("sae"), min_size=1))
def test_no_mutated_manifest_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, changes: dict) -> None:
    path = make(tmp_path_factory.mktemp("a") / "sae")
    write_sealed(path / MANIFEST, read_manifest(path) | changes)
    with suppress(ArtifactError):
        open_artifact(path, "sae").source("store")


def test_two_writers_of_one_name_do_not_mix(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "a", "sae", config={}) as draft:
        (draft.path / "mine").write_text("x")
        with pytest.raises(InputError, match=f"is being made by another run .process {os.getpid()} "):
            make(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    open_artifact(tmp_path / "a", "sae").verify()
