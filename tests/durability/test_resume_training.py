"""A run that is broken off goes on with the same bytes. Oracle: the same run without a break."""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from tests.harvest.conftest import FakeCorpus, FakeModel, byte_tokenizer

from lexiscope.core.artifact import open_artifact
from lexiscope.core.checkpoint import CheckpointWarning
from lexiscope.core.draft import conditions
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.stop import Stopped
from lexiscope.harvest.stream import ActivationStream
from lexiscope.measure.worlds.linear import Config, LinearWorld
from lexiscope.saes import architectures
from lexiscope.saes.registry import read_config
from lexiscope.text.document import Document
from lexiscope.text.tokenizer import FastTokenizer
from lexiscope.train import member
from lexiscope.train.config import TrainConfig
from lexiscope.train.run import sweep, train
from lexiscope.train.spikes import Recovery

PLACES = {
    "transcoder": {"hook": "resid_post.0", "target": "resid_post.1"},
    "crosscoder": {"hook": ["resid_post.0", "resid_post.1"]},
}
RECOVERY = Recovery()
BATCH, STEPS = 64, 12
WORLD = LinearWorld(Config(width=12, num_features=30, active=3))


class TwoSites:
    """The world seen at two hook points."""

    hooks = (HookPoint.parse("resid_post.0"), HookPoint.parse("resid_post.1"))

    def width(self, hook):
        return WORLD.width(hook)

    def batches(self, hook, **arguments):
        for x_TD in WORLD.batches(hook, **arguments):
            yield x_TD if hook == self.hooks[0] else x_TD.flip(1)


class Killed(BaseException):
    """Nothing in the package may catch it."""


class Killer:
    """A progress bar that breaks the run off when it has seen so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def task(self, *_, **__):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount, note=""):
        self.left -= amount == BATCH
        if self.left < 0:
            raise Killed


def settings_of(name):
    few = {"num_latents": 40}
    return {
        "batch_topk": {**few, "k": 3},
        "topk": {**few, "k": 3},
        "hierarchical_topk": {**few, "k": 3},
        "matryoshka": {**few, "activation": {"name": "batch_topk", "k": 3}},
        "matching_pursuit": {**few, "k": 2},
        "jumprelu": few,
        "gated": few,
        "relu_l1": few,
        "transcoder": {**few, "activation": {"name": "jumprelu"}},
        "crosscoder": {**few, "activation": {"name": "gated"}},
    }.get(name)


TRAINED = [name for name in architectures() if settings_of(name)]


def optimise(name, **other):
    target = {"target_l0": 3} if name in {"jumprelu", "gated", "relu_l1", "transcoder", "crosscoder"} else {}
    return TrainConfig(
        **{
            "tokens": BATCH * STEPS,
            "batch_tokens": BATCH,
            "heldout_tokens": 200,
            "log_every_steps": 2,
            "evaluate_every_steps": 5,
            "dead_after_tokens": 3 * BATCH,
            **target,
            **other,
        }
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def run(name, out, *, recovery=RECOVERY, killed_after=None, **other):
    config = read_config({"architecture": name, **settings_of(name)}, name)
    killer = {} if killed_after is None else {"progress": Killer(killed_after)}
    with suppress(Killed):
        places = PLACES.get(name, {"hook": "resid_post.0"})
        train(TwoSites(), config, optimise(name, **other), out=out, recovery=recovery, **places, **killer)


def test_every_architecture_that_learns_is_here():
    assert set(architectures()) - set(TRAINED) == {
        name for name, module in architectures().items() if module.__name__.startswith("lexiscope.saes.baselines")
    }


@pytest.mark.filterwarnings("ignore::lexiscope.train.collapse.CollapseWarning")
@pytest.mark.parametrize("name", TRAINED)
def test_two_breaks_change_no_byte(name, tmp_path):
    run(name, tmp_path / "whole")
    every = Recovery(every_steps=3)
    for killed_after in (5, 4):
        run(name, tmp_path / "broken", recovery=every, killed_after=killed_after)
        assert not (tmp_path / "broken").exists()
    run(name, tmp_path / "broken", recovery=every, killed_after=STEPS - 6)  # not one step more than is left
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]


OTHER_SETTINGS = {
    "resampling from batches before the break": {
        "terms": ["auxk", {"name": "resample", "every_tokens": 5 * BATCH, "candidate_tokens": 3 * BATCH}],
        "dead_after_tokens": BATCH,
    },
    "a round far apart": {"terms": [{"name": "resample", "every_tokens": 6 * BATCH}], "dead_after_tokens": BATCH},
    "other terms": {"terms": ["alignment", {"name": "orthogonality", "chunk_latents": 8}]},
    "8-bit moments": {"optimizer_bits": 8},
    "bfloat16": {"precision": "bfloat16", "weights_dtype": "bfloat16"},
    "repairs": {"repair": ["duplicates", "shrinkage"]},
    "another normalisation and order": {"normalise": "scale", "data_seed": 5, "seed": 3},
}


@pytest.mark.filterwarnings("ignore::lexiscope.train.collapse.CollapseWarning")
@pytest.mark.parametrize("settings", OTHER_SETTINGS.values(), ids=OTHER_SETTINGS.keys())
@pytest.mark.parametrize("killed_after", [4, 8])
def test_breaks_change_no_byte_under_other_settings(settings, killed_after, tmp_path):
    run("topk", tmp_path / "whole", **settings)
    run("topk", tmp_path / "broken", recovery=Recovery(every_steps=1), killed_after=killed_after, **settings)
    run("topk", tmp_path / "broken", killed_after=STEPS - killed_after, **settings)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def checkpoints(out):
    return sorted((out.parent / f".{out.name}.work" / "checkpoints").iterdir())


def test_every_checkpoint_that_is_kept_serves(tmp_path):
    run("batch_topk", tmp_path / "whole")
    run("batch_topk", tmp_path / "broken", recovery=Recovery(every_steps=2, keep=4), killed_after=11)
    work = tmp_path / ".broken.work"
    shutil.copytree(work, tmp_path / "kept")
    found = checkpoints(tmp_path / "broken")
    assert [int(path.name) for path in found] == [4, 6, 8, 10]
    for newest in found:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(tmp_path / "broken", ignore_errors=True)
        shutil.copytree(tmp_path / "kept", work)
        for path in checkpoints(tmp_path / "broken"):
            if path.name > newest.name:
                shutil.rmtree(path)
        run("batch_topk", tmp_path / "broken", killed_after=STEPS - int(newest.name))
        assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


@pytest.mark.parametrize("file", ["state.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(file, tmp_path):
    run("topk", tmp_path / "whole")
    run("topk", tmp_path / "broken", recovery=Recovery(every_steps=2), killed_after=7)
    newest = checkpoints(tmp_path / "broken")[-1] / file
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    with pytest.warns(CheckpointWarning, match=f"{newest}.*going on from an older checkpoint"):
        run("topk", tmp_path / "broken", killed_after=STEPS - 4)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore::lexiscope.core.checkpoint.CheckpointWarning")
def test_when_all_are_damaged_the_run_says_so_and_does_not_start_again(tmp_path):
    run("topk", tmp_path / "broken", recovery=Recovery(every_steps=2), killed_after=7)
    for path in checkpoints(tmp_path / "broken"):
        (path / "state.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"all checkpoints in .* are damaged; remove .*\.broken\.work"):
        run("topk", tmp_path / "broken")


def test_other_settings_are_refused_and_what_differs_is_named(tmp_path):
    run("topk", tmp_path / "broken", recovery=Recovery(every_steps=2), killed_after=7)
    with pytest.raises(InputError, match=r"interrupted here \(.*train\.seed is 0 there, 7 was asked for\)"):
        run("topk", tmp_path / "broken", seed=7)
    run("topk", tmp_path / "broken")


def test_what_has_no_checkpoint_yet_starts_again_whatever_it_was(tmp_path):
    run("topk", tmp_path / "broken", killed_after=7)
    run("topk", tmp_path / "broken", seed=7)
    run("topk", tmp_path / "whole", seed=7)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_a_sweep_whose_members_stand_at_different_steps(tmp_path):
    """One member has other checkpoints, as if the process had died between writing the two."""
    members = {
        name: (read_config({"architecture": name, **settings_of(name)}, name), optimise(name, tokens=BATCH * steps))
        for name, steps in (("topk", STEPS), ("gated", STEPS - 2), ("batch_topk", 4))
    }
    arguments = {"hook": "resid_post.0", "recovery": Recovery(every_steps=1, keep=9)}
    sweep(TwoSites(), members, out=tmp_path / "whole", **arguments)
    with suppress(Killed):
        sweep(TwoSites(), members, out=tmp_path / "broken", progress=Killer(20), **arguments)
    for path in checkpoints(tmp_path / "broken" / "gated")[-3:]:
        shutil.rmtree(path)
    sweep(TwoSites(), members, out=tmp_path / "broken", **arguments)
    for name in members:
        assert contents(tmp_path / "broken" / name) == contents(tmp_path / "whole" / name)


def test_a_budget_keeps_fewer_and_one_too_small_is_refused(tmp_path):
    run("topk", tmp_path / "a", recovery=Recovery(every_steps=1, keep=9), killed_after=7)
    size = sum(path.stat().st_size for path in checkpoints(tmp_path / "a")[0].iterdir())
    run("topk", tmp_path / "b", recovery=Recovery(every_steps=1, keep=9, max_gb=3 * size / 1e9), killed_after=7)
    assert len(checkpoints(tmp_path / "b")) == 3
    with pytest.raises(InputError, match=r"two must fit: set recovery\.max_gb to 0"):
        run("topk", tmp_path / "c", recovery=Recovery(every_steps=1, max_gb=1e-6))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_writes_a_checkpoint_and_says_how_to_go_on(number, tmp_path):
    class Signal(Killer):
        def advance(self, amount, note=""):
            self.left -= amount == BATCH
            if self.left == 0:
                signal.raise_signal(number)

    run("topk", tmp_path / "whole")
    config = read_config({"architecture": "topk", **settings_of("topk")}, "topk")
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=r"stopped after a checkpoint \(broken at step 5\); the same command") as stopped:
        train(TwoSites(), config, optimise("topk"), hook="resid_post.0", out=tmp_path / "broken", progress=Signal(5))
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == before
    run("topk", tmp_path / "broken", killed_after=STEPS - 5)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_other_conditions_are_named(tmp_path, monkeypatch):
    run("topk", tmp_path / "broken", recovery=Recovery(every_steps=2), killed_after=7)
    monkeypatch.setattr(member, "conditions", lambda: {**conditions(), "threads": "64"})
    with pytest.warns(CheckpointWarning, match="goes on under other conditions .*threads is '1' there"):
        run("topk", tmp_path / "broken")
    manifest = open_artifact(tmp_path / "broken", "sae").manifest
    assert "threads" in manifest["conditions"]["changed"]


def test_a_run_on_a_live_stream(tmp_path):
    """Several passes over a small corpus; the model never sees what was trained on before the break more than twice."""
    model = FakeModel(FastTokenizer(byte_tokenizer(), bos_id=256), {"resid_post.1": 12})
    documents = [Document(f"fake:{n}", f"Text {n} of many. " * (n % 7 + 1), "prose", "CC0-1.0") for n in range(40)]
    config = read_config({"architecture": "topk", **settings_of("topk")}, "topk")

    def live(out, **other):
        stream = ActivationStream(model, FakeCorpus(documents), ["resid_post.1"], context=24, batch=4)
        asked = optimise("topk", tokens=BATCH * 150, heldout_tokens=100, evaluate_every_steps=50)
        train(stream, config, asked, out=tmp_path / out, recovery=Recovery(every_steps=20), **other)

    live("whole")
    with suppress(Killed):
        live("broken", progress=Killer(70))
    with suppress(Killed):
        live("broken", progress=Killer(70))
    live("broken", progress=Killer(150 - 120))
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
