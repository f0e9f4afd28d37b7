"""Every change to a byte is found, and the file is named. Oracle: the change that was made, one at a time.

On artifacts of all kinds and on checkpoints, as the stages write them, with the embedded model.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tests.durability.hostile import plant_little, steer_little

from lexiscope import saes
from lexiscope.core.artifact import FORMAT_VERSIONS, LANDMARKS
from lexiscope.core.errors import ArtifactError
from lexiscope.core.manifest import MANIFEST
from lexiscope.core.verify import verify
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.build import build_index, build_part
from lexiscope.index.config import IndexConfig
from lexiscope.index.parts import Share
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.scorecard import MeasureConfig, Scorecard, measure
from lexiscope.saes import topk
from lexiscope.saes.weights import WEIGHTS
from lexiscope.text import generators
from lexiscope.text.corpus import Corpus
from lexiscope.train.config import TrainConfig
from lexiscope.train.run import train
from lexiscope.train.spikes import Recovery

SMALL_BYTES = 1 << 16


class Killed(BaseException):
    pass


class Killer:
    """A progress bar that breaks a training off after five steps."""

    def __init__(self):
        self.left = 5

    def task(self, *_, **__):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount, note=""):
        self.left -= amount > 0
        if self.left < 0:
            raise Killed


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """store, sae, scorecard and index, and the checkpoints of another training; not where they were made."""
    out = tmp_path_factory.mktemp("made") / "run"
    model, learn = LanguageModel("demo"), TrainConfig(tokens=2000, batch_tokens=200, heldout_tokens=50)
    sizes = {"tokens": 600, "context": 32, "batch": 4, "shard_tokens": 256}
    store = harvest(model, Corpus("generated:quotes"), ["resid_post.1"], **sizes, out=out / "store")
    sae = train(store, topk.Config(num_latents=48, k=4), learn, out=out / "sae")
    few = MeasureConfig(tokens=50, loss_tokens=50, concept_tokens=100, sample_tokens=100)
    measure(sae, model, store, config=few, out=out / "scorecard")
    build_index(sae, model, store, out=out / "index", config=IndexConfig(logit_tokens=2))
    build_part(sae, model, store, Share(1, 1), out=out / "index-part")
    texts = out.with_name("texts")
    texts.mkdir()
    for number, page in zip(range(40), generators.pages("quotes", 0), strict=False):
        (texts / f"{number}.txt").write_text(page)
    plant_little(out.with_name("long"), texts, out / "planted")
    steer_little(model, out)
    with suppress(Killed):
        every = Recovery(every_steps=2)
        train(store, topk.Config(num_latents=8, k=2), learn, out=out / "cut", recovery=every, progress=Killer())
    return out.rename(out.with_name("moved"))


@pytest.fixture
def run(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def folders(run: Path) -> list[Path]:
    """Of all artifacts and checkpoints."""
    return [*(run / kind for kind in FORMAT_VERSIONS), *sorted((run / ".cut.work" / "checkpoints").iterdir())]


def files(run: Path) -> list[tuple[Path, Path]]:
    """Every file, with the folder that it belongs to."""
    return [(folder, path) for folder in folders(run) for path in all_files(folder)]


def all_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def kind_of(folder: Path) -> str:
    return folder.name if folder.name in FORMAT_VERSIONS else "checkpoint"


def named(*given: Path) -> set[Path]:
    """The paths of which verify says that they are not what was written."""
    return {problem.path for finding in verify(given) for problem in finding.problems}


def test_what_the_stages_write_is_whole(made):
    """No file of it is left out, and what moved together is found together."""
    findings = verify([made, made / ".cut.work"])
    assert all(finding.whole and not finding.notes for finding in findings)
    assert {finding.path for finding in findings} == set(folders(made))
    assert sum(finding.num_files for finding in findings) == len(files(made)) - len(folders(made))
    for kind, landmark in LANDMARKS.items():
        assert (made / kind / landmark).is_file()
        assert not any((made / other / landmark).exists() for other in LANDMARKS if other != kind)


@pytest.fixture(params=[*FORMAT_VERSIONS, "checkpoint"])
def alone(request, made, tmp_path) -> Path:
    """One folder, with nothing around it that it was made from."""
    folder = folders(made)[-1] if request.param == "checkpoint" else made / request.param
    inner = tmp_path / request.param / ".x.work" / "checkpoints"
    return shutil.copytree(folder, inner / folder.name)


def test_every_flipped_bit_is_found(alone, amount, figure):
    """In the full profile: one bit of every byte of files up to 64 KiB, and more than 10,000 elsewhere."""
    chance = random.Random(0)
    hits = tried = 0
    for path in all_files(alone):
        size = path.stat().st_size
        count = min(size, amount(16, size) if size <= SMALL_BYTES else amount(40, 4000))
        places = range(size) if count == size else {0, size - 1, *chance.sample(range(size), count)}
        descriptor = os.open(path, os.O_RDWR)
        for place in places:
            was = os.pread(descriptor, 1, place)
            os.pwrite(descriptor, bytes([was[0] ^ 1 << chance.randrange(8)]), place)
            hits += named(alone) == {path}
            tried += 1
            os.pwrite(descriptor, was, place)
        os.close(descriptor)
    figure(f"flipped bits found and named, {kind_of(alone)}", f"{hits:,} of {tried:,}", "all")
    assert hits == tried
    assert named(alone) == set()


def test_every_truncation_is_found(alone, amount, figure):
    """At every length in the full profile, for files up to 64 KiB."""
    chance = random.Random(1)
    hits = tried = 0
    for path in all_files(alone):
        content = path.read_bytes()
        size = len(content)
        count = min(size, amount(10, size if size <= SMALL_BYTES else 3000))
        for length in sorted({0, size - 1, *chance.sample(range(size), count)}, reverse=True):
            os.truncate(path, length)
            hits += named(alone) == {path}
            tried += 1
        path.write_bytes(content)
    figure(f"truncated files found and named, {kind_of(alone)}", f"{hits:,} of {tried:,}", "all")
    assert hits == tried


def test_every_file_that_is_gone_or_more_than_it_was_is_found(run, figure):
    def appended(path):
        with path.open("ab") as file:
            file.write(b"\0")

    def renamed(path):
        path.rename(path.with_name(f"other-{path.name}"))

    def duplicated(path):
        return Path(shutil.copy(path, path.with_name(f"00009-{path.name}")))

    def folder_instead(path):
        path.unlink()
        path.mkdir()

    changes = (lambda path: path.unlink(), lambda path: path.write_bytes(b""), appended, renamed, duplicated)
    hits = tried = 0
    for (folder, path), change in itertools.product(files(run), (*changes, folder_instead)):
        saved = shutil.copytree(folder, run.parent / "saved")
        wrong = change(path)
        hits += (wrong if change is duplicated else path) in named(folder)
        tried += 1
        shutil.rmtree(folder)
        saved.rename(folder)
    figure("deleted, emptied, longer, renamed, doubled files found", f"{hits:,} of {tried:,}", "all")
    assert hits == tried
    assert named(run) == set()


def test_every_two_files_that_are_swapped_are_found(run, figure):
    """Within an artifact, manifests too, and the same file of two artifacts. Of the same bytes there is no swap: the
    two models of a planted pair share files of their tokenizer."""
    pairs = []
    for _, group in itertools.groupby(files(run), key=lambda item: item[0]):
        pairs += itertools.combinations([path for _, path in group], 2)
    pairs += itertools.combinations([folder / MANIFEST for folder in folders(run)], 2)
    pairs += [tuple(folder / "state.safetensors" for folder in folders(run)[-2:])]
    pairs = [pair for pair in pairs if pair[0].read_bytes() != pair[1].read_bytes()]
    hits = 0
    for pair in pairs:
        first, second = (path.read_bytes() for path in pair)
        pair[0].write_bytes(second)
        pair[1].write_bytes(first)
        wrong = named(run, run / ".cut.work")
        manifests = {path for path in pair if path.name == MANIFEST}
        if len(manifests) == 2:  # each is whole: the files beside it are not what it lists
            hits += all(any(path.parent in other.parents for other in wrong) for path in pair)
        else:  # what a broken manifest lists, nobody knows
            hits += wrong == (manifests or set(pair))
        pair[0].write_bytes(first)
        pair[1].write_bytes(second)
    figure("swapped files found", f"{hits:,} of {len(pairs):,}", "all")
    assert hits == len(pairs)


def flip(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", [kind for kind in FORMAT_VERSIONS if kind != "planted"])
def test_damage_in_what_it_was_made_from_is_found(run, kind):
    """The store is behind everything."""
    shard = flip(run / "store" / "activations" / "resid_post.1" / "00001.safetensors")
    assert named(run / kind) == {shard}


def test_the_command_line_names_the_file_and_says_what_to_do(run):
    """As a process. Exit code, one line per artifact, one sentence per damaged file."""
    given = [sys.executable, "-m", "lexiscope.cli.main", "verify", run / "index"]
    whole = subprocess.run(given, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    lines = [line.split() for line in whole.stdout.splitlines()]
    assert {(line[0], line[1], line[-1]) for line in lines} == {
        ("whole", kind, str(run / kind)) for kind in ("index", "sae", "store")
    }
    weights, documents = flip(run / "sae" / WEIGHTS), flip(run / "store" / "documents.parquet")
    damaged = subprocess.run([*given, "--json"], capture_output=True, text=True, check=False)
    assert damaged.returncode == 1, damaged.stderr
    assert "Traceback" not in damaged.stderr
    for path, kind in ((weights, "sae"), (documents, "store")):
        assert (
            f"damage: {path} is damaged (its SHA-256 differs); restore it from a copy, or make the {kind} again\n"
            in damaged.stderr
        )
    assert damaged.stderr.splitlines()[-1] == "lexiscope: 2 of 3 artifacts are damaged, as said above"
    said = json.loads(damaged.stdout)
    assert not said["whole"]
    assert {entry["kind"]: [problem["path"] for problem in entry["problems"]] for entry in said["artifacts"]} == {
        "index": [],
        "sae": [str(weights)],
        "store": [str(documents)],
    }


def test_readers_refuse_what_they_read_whole(run):
    """Shards of activations and the tables of an index are read in parts: these only verify checks."""
    with pytest.raises(ArtifactError, match="sae.safetensors is damaged .its SHA-256 differs"):
        saes.load(flip(run / "sae" / WEIGHTS).parent)
    with pytest.raises(ArtifactError, match="scorecard.json is damaged .its SHA-256 differs"):
        Scorecard.open(flip(run / "scorecard" / "scorecard.json").parent)
    for name in ("tokens", "documents", "positions", "contexts", "starts", "ends"):
        flip(run / "store" / "rows" / f"{name}.safetensors")
        with pytest.raises(ArtifactError, match=f"{name}.safetensors is damaged .its SHA-256 differs"):
            getattr(ActivationStore.open(run / "store"), f"{name}_T")
    for name, read in (("documents.parquet", "documents"), ("statistics.safetensors", "statistics")):
        flip(run / "store" / name)
        with pytest.raises(ArtifactError, match=f"{name} is damaged .its SHA-256 differs"):
            getattr(ActivationStore.open(run / "store"), read)(*(["resid_post.1"] if read == "statistics" else []))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_loaded_and_saved_again_are_the_same_bytes(made, tmp_path, dtype):
    once, twice = tmp_path / "once", tmp_path / "twice"
    once.mkdir()
    twice.mkdir()
    sae = saes.load(made / "sae")
    entry = sae.write_weights(once, dtype)
    type(sae).read_weights(sae.settings(), once).write_weights(twice, dtype)
    content = (once / WEIGHTS).read_bytes()
    assert content == (twice / WEIGHTS).read_bytes()
    assert entry.bytes == len(content)
    if dtype == torch.float32:
        assert content == (made / "sae" / WEIGHTS).read_bytes()
