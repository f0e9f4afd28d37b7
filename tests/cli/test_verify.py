"""``lexiscope verify`` as a user calls it. Oracle: exit code, one line per artifact, one sentence per damaged file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture(params=["plain", "with space", "Ünïcode 漢字", "line\nbreak"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store and an autoencoder made from it, in a folder of that name."""
    folder = tmp_path / request.param
    with write_artifact(folder / "store", "store", config={}) as draft:
        (draft.path / "statistics.safetensors").write_text("statistics")
    made_from = [open_artifact(folder / "store", "store")]
    with write_artifact(folder / "sae", "sae", config={}, made_from=made_from) as draft:
        (draft.path / "sae.safetensors").write_text("weights")
    return folder


def shown(path: Path) -> str:
    return str(path).replace("\n", "\\n")


def test_whole(lexiscope: Run, folder: Path) -> None:
    code, out, err = lexiscope("verify", folder / "sae")
    assert code == 0, err
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["whole", "sae", "1", "files"],
        ["whole", "store", "1", "files"],
    ]
    for kind, line in zip(("sae", "store"), out.splitlines(), strict=True):
        assert line.endswith(shown(folder / kind))
    assert "Verifying: " in err


def test_damage(lexiscope: Run, folder: Path) -> None:
    (folder / "store" / "statistics.safetensors").write_text("STATISTICS")
    (folder / "sae" / "more").write_text("x")
    code, out, err = lexiscope("verify", folder / "sae")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["DAMAGED", "DAMAGED"]
    extra, changed = shown(folder / "sae" / "more"), shown(folder / "store" / "statistics.safetensors")
    damaged = "is damaged (its SHA-256 differs); restore it from a copy, or make the store again"
    assert err.splitlines()[-3:] == [
        f"damage: {extra} is not in the manifest; move it out of the folder",
        f"damage: {changed} {damaged}",
        "lexiscope: 2 of 2 artifacts are damaged, as said above",
    ]


def test_json(lexiscope: Run, folder: Path) -> None:
    (folder / "sae" / "sae.safetensors").write_text("WEIGHTS")
    code, out, err = lexiscope("verify", folder, "--json")
    assert code == 1
    said = json.loads(out)
    assert not said["whole"]
    assert [(entry["path"], entry["kind"], entry["whole"]) for entry in said["artifacts"]] == [
        (str(folder / "sae"), "sae", False),
        (str(folder / "store"), "store", True),
    ]
    assert said["artifacts"][0]["problems"][0]["path"] == str(folder / "sae" / "sae.safetensors")
    assert said["artifacts"][1]["fingerprint"] == open_artifact(folder / "store", "store").fingerprint
    assert "Traceback" not in err


def test_a_note_is_no_damage(lexiscope: Run, tmp_path: Path, folder: Path) -> None:
    (folder / "store").rename(tmp_path.parent / f"away from {tmp_path.name}")
    code, out, err = lexiscope("verify", folder / "sae", "--json")
    assert code == 0, err
    assert "note: the store that " in err
    assert "not checked" in json.loads(out)["artifacts"][0]["notes"][0]


@pytest.mark.parametrize("name", ["absent", "file", "empty"])
def test_nothing_to_verify(lexiscope: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    code, out, err = lexiscope("verify", tmp_path / name)
    assert (code, out) == (2, "")
    assert err.startswith("lexiscope: no")
    assert lexiscope("verify")[0] == 2
