"""What verify looks at, and where. Oracle: artifacts that were put there, moved, linked, replaced or taken away."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from lexiscope.core.artifact import LANDMARKS, open_artifact
from lexiscope.core.checkpoint import Checkpoints, Keeping
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.manifest import MANIFEST, read_manifest, write_sealed
from lexiscope.core.verify import Finding, verify


def make(out: Path, kind: str = "sae", made_from: Sequence[Path] = (), content: str = "weights") -> Path:
    sources = [open_artifact(path, read_manifest(path)["kind"]) for path in made_from]
    with write_artifact(out, kind, config={"k": 3}, made_from=sources) as draft:
        landmark = draft.path / LANDMARKS[kind]
        landmark.parent.mkdir(exist_ok=True)
        landmark.write_text(content)
        (draft.path / "rows").mkdir()
        (draft.path / "rows" / "tokens").write_text("tokens")
    return out


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """index ← sae ← store."""
    run = tmp_path / "runs" / "run"
    make(run / "store", "store")
    make(run / "sae", "sae", [run / "store"])
    make(run / "index", "index", [run / "store", run / "sae"])
    return run


def states(*paths: Path) -> dict[Path, bool]:
    return {finding.path: finding.whole for finding in verify(paths)}


def only(*paths: Path) -> Finding:
    [finding] = verify(paths)
    return finding


def sentences(*paths: Path) -> list[str]:
    return [problem.sentence for finding in verify(paths) for problem in finding.problems]


def test_everything_it_was_made_from_is_checked_once(run: Path) -> None:
    assert list(states(run / "index")) == [run / "index", run / "store", run / "sae"]
    assert list(states(run)) == [run / "index", run / "sae", run / "store"]
    assert list(states(run, run / "sae", run.parent)) == [run / "index", run / "sae", run / "store"]


def test_a_moved_run_is_found_together(run: Path) -> None:
    moved = run.rename(run.parent / "moved")
    assert states(moved / "index") == {moved / name: True for name in ("index", "store", "sae")}
    renamed = (moved / "store").rename(moved / "activations")
    assert states(moved / "sae") == {moved / "sae": True, renamed: True}
    member = make(moved / "sweep" / "member", "sae", [renamed])
    renamed = renamed.rename(moved / "again")
    assert states(member) == {member: True, renamed: True}
    away = renamed.rename(moved.parent / "away")
    assert states(moved / "sae") == {moved / "sae": True, away: True}
    far = away.rename(away.parents[1] / "far")
    assert states(moved / "sae", far) == {moved / "sae": True, far: True}


def test_a_hidden_parent_hides_nothing(run: Path) -> None:
    hidden = run.rename(run.parent / ".cache")
    assert states(hidden / "sae") == {hidden / "sae": True, hidden / "store": True}
    assert len(verify([hidden])) == 3


def test_a_source_that_is_gone_is_a_note(run: Path) -> None:
    shutil.rmtree(run / "store")
    finding = only(run / "sae")
    assert finding.whole
    places = f"neither at {run / 'store'} nor around it"
    assert finding.notes == [f"the store that {run / 'sae'} was made from is {places}; not checked"]


def test_a_source_that_was_replaced_is_reported(run: Path) -> None:
    shutil.rmtree(run / "store")
    make(run / "store", "store", content="other activations")
    [sentence] = sentences(run / "sae")
    assert sentence == (
        f"{run / 'store'} is not the store that {run / 'sae'} was made from (its fingerprint differs); bring that one "
        "back, or make the sae again"
    )
    make(run / "another name", "store")  # the same content as the first one
    assert sentences(run / "sae") == []


def test_of_a_source_without_its_manifest_the_manifest_is_named(run: Path) -> None:
    (run / "store" / MANIFEST).unlink()
    for asked in (run / "sae", run):
        assert [problem.path for found in verify([asked]) for problem in found.problems] == [run / "store" / MANIFEST]
    moved = run.rename(run.parent / "moved")
    [sentence] = sentences(moved / "sae")
    assert sentence == f"{moved / 'store'} holds no {MANIFEST}; restore it from a copy, or make the artifact again"


def test_artifacts_made_from_each_other_do_not_go_round(run: Path) -> None:
    for name, other in (("store", "sae"), ("sae", "store")):
        manifest = read_manifest(run / name)
        entry = {"kind": other, "path": str(run / other), "fingerprint": read_manifest(run / other)["fingerprint"]}
        write_sealed(run / name / MANIFEST, manifest | {"made_from": [entry]})
    assert all(states(run / "store").values())


@pytest.mark.parametrize("path", ["", ".", "relative/store", "/", "/dev/null", "x" * 5000, "/" + "x" * 5000, "/a\0b"])
def test_whatever_a_manifest_says_of_its_source_is_looked_for_in_peace(run: Path, path: str) -> None:
    manifest = read_manifest(run / "sae")
    source = {"kind": "store", "path": path, "fingerprint": "0" * 64}
    write_sealed(run / "sae" / MANIFEST, manifest | {"made_from": [source]})
    shutil.rmtree(run / "store")
    [note] = only(run / "sae").notes
    assert "not checked" in note


def test_a_manifest_that_was_edited_and_sealed_again_does_not_fit_itself(run: Path) -> None:
    manifest = read_manifest(run / "sae")
    write_sealed(run / "sae" / MANIFEST, manifest | {"config": {"k": 4}})
    assert "was edited: the fingerprint in it is not its own" in sentences(run / "sae")[0]


@pytest.mark.parametrize("name", ["more.bin", ".hidden", "rows/more", "line\nbreak", "Ünïcode 漢字 \u202e", "a b"])
def test_a_file_that_does_not_belong_is_named(run: Path, name: str) -> None:
    (run / "sae" / name).write_text("x")
    finding = verify([run / "sae"])[0]
    assert [problem.path for problem in finding.problems] == [run / "sae" / name]
    assert "is not in the manifest; move it out of the folder" in finding.problems[0].sentence
    assert "\n" not in finding.summary()["problems"][0]["problem"]
    assert finding.summary()["problems"][0]["path"] == str(run / "sae" / name)


def test_a_name_that_is_no_text_can_be_written_down(run: Path) -> None:
    (run / "sae" / os.fsdecode(b"\xff\xfe")).write_text("x")
    said = verify([run / "sae"])[0].summary()
    assert str(said).encode("utf-8")
    assert r"\xff\xfe" in said["problems"][0]["path"]


def test_links(run: Path, tmp_path: Path) -> None:
    """One that leads out of the folder is refused everywhere; one that leads in circles ends nothing."""
    sae, rows, weights = run / "sae", run / "sae" / "rows", run / "sae" / LANDMARKS["sae"]
    (rows / "loop").symlink_to(rows)
    (sae / "itself").symlink_to(sae / "itself")
    assert [problem.path.name for problem in verify([sae])[0].problems] == ["itself", "loop"]
    (rows / "loop").unlink()
    (sae / "itself").unlink()

    outside = weights.rename(tmp_path / "outside")
    weights.symlink_to(outside)
    assert f"{weights} is a link that leads out of its folder" in sentences(sae)[0]
    with pytest.raises(ArtifactError, match="is a link that leads out of its folder"):
        open_artifact(sae, "sae")
    weights.unlink()
    weights.symlink_to(weights)
    assert len(sentences(sae)) == 1
    weights.unlink()
    outside.rename(weights)

    outside = rows.rename(tmp_path / "outside rows")
    rows.symlink_to(outside)
    assert f"{rows / 'tokens'} is a link that leads out of its folder" in sentences(sae)[0]
    rows.unlink()
    outside.rename(sae / "inside")
    rows.symlink_to(sae / "inside")
    assert [problem.path for problem in verify([sae])[0].problems] == [sae / "inside" / "tokens"]
    rows.unlink()
    (sae / "inside").rename(rows)

    outside = (sae / MANIFEST).rename(tmp_path / "manifest")
    (sae / MANIFEST).symlink_to(outside)
    assert f"{sae / MANIFEST} is a link" in sentences(sae)[0]


def test_folders_may_be_links_and_lead_in_circles(run: Path) -> None:
    (run / "runs").symlink_to(run.parent)
    (run.parent / "latest").symlink_to(run)
    (run / "best").symlink_to(run / "sae")
    (run / "nowhere").symlink_to(run / "nowhere")
    assert len(verify([run.parent])) == 3
    assert len(verify([run.parent / "latest"])) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", [LANDMARKS["sae"], MANIFEST])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run: Path, name: str) -> None:
    (run / "sae" / name).unlink()
    os.mkfifo(run / "sae" / name)
    assert len(sentences(run / "sae")) == 1


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Unfinished work with two checkpoints."""
    import torch

    checkpoints = Checkpoints(tmp_path / ".sae.work" / "checkpoints", {"kind": "sae"}, Keeping())
    for number in (10, 20):
        checkpoints.save(number, {"weights": torch.arange(number)}, {"cursor": number})
    (tmp_path / ".sae.work" / "draft").mkdir()
    (tmp_path / ".sae.work" / "draft" / LANDMARKS["sae"]).write_text("half")
    (tmp_path / ".sae.work" / "checkpoints" / ".partial").mkdir()
    return tmp_path / ".sae.work"


def test_checkpoints_are_checked_if_they_are_asked_for(run: Path, work: Path, tmp_path: Path, monkeypatch) -> None:
    both = [work / "checkpoints" / name for name in ("0000000010", "0000000020")]
    for asked in (work, work / "checkpoints"):
        assert states(asked) == dict.fromkeys(both, True)
    assert states(both[0]) == {both[0]: True}
    assert len(verify([tmp_path])) == 3  # the run, and nothing that is hidden
    monkeypatch.chdir(work)
    assert len(verify(["."])) == 2


def test_damage_in_checkpoints_is_named(work: Path) -> None:
    first, second = (work / "checkpoints" / name for name in ("0000000010", "0000000020"))
    with (first / "state.safetensors").open("r+b") as file:
        file.truncate(50)
    (second / MANIFEST).unlink()
    found = {problem.path: problem.sentence for finding in verify([work]) for problem in finding.problems}
    assert list(found) == [first / "state.safetensors", second / MANIFEST]
    for path, sentence in found.items():
        assert sentence.endswith(f"; remove {path.parent}, the run goes on from an older one")
    second.rename(second.with_name("0000000030"))
    shutil.rmtree(first)
    assert len(verify([work])) == 1


def test_a_checkpoint_under_another_number_is_found(work: Path) -> None:
    first = work / "checkpoints" / "0000000010"
    first.rename(first.with_name("0000000030"))
    [sentence] = sentences(work)
    assert "belongs to checkpoint 10" in sentence


def test_where_there_is_nothing_to_verify_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / ".x.work").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("empty", ".x.work"):
        with pytest.raises(InputError, match="nothing to verify in .*: it holds no artifact and no checkpoint"):
            verify([tmp_path / name])
    for name in ("absent", "file", "x" * 5000):
        with pytest.raises(InputError, match="no folder at .*; give the folder of an artifact"):
            verify([tmp_path / name])


def test_notes_beside_an_index_are_checked_and_left_as_they_are(run: Path) -> None:
    path = run / "index.notes.sqlite"
    with closing(sqlite3.connect(path)) as tx:
        tx.execute("PRAGMA journal_mode = WAL")
        tx.execute("CREATE TABLE labels (text)")
        tx.executemany("INSERT INTO labels VALUES (?)", [["label"]] * 5000)
        tx.commit()
    before = path.read_bytes()
    [finding] = [finding for finding in verify([run]) if finding.path == path]
    assert (finding.kind, finding.whole, finding.num_files, finding.num_bytes) == ("notes", True, 1, len(before))
    assert sorted(found.name for found in run.iterdir()) == ["index", "index.notes.sqlite", "sae", "store"]
    damaged = bytearray(before)
    damaged[len(before) // 2 : len(before) // 2 + 400] = b"\xff" * 400
    path.write_bytes(damaged)
    [sentence] = sentences(run)
    assert sentence.startswith(f"{path} is damaged (")
    assert sentence.endswith("; restore it from a copy, or move it away")
    path.unlink()
    path.symlink_to(run / "elsewhere")
    assert sentences(run / "index") == [f"{path} is a link or no file; restore it from a copy, or move it away"]
