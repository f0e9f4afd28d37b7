"""Batches that are not like the others. Oracles: hand-made losses, and runs on streams without those batches."""

from __future__ import annotations

import itertools
import shutil
from contextlib import suppress

import pytest
import torch

from lexiscope import saes
from lexiscope.core.artifact import open_artifact
from lexiscope.core.errors import TrainingError
from lexiscope.train.collapse import CollapseWarning
from lexiscope.train.config import TrainConfig
from lexiscope.train.run import train
from lexiscope.train.spikes import Recovery, Spikes

BATCH, STEPS, BAD = 100, 80, 66
CONFIG = saes.topk.Config(num_latents=64, k=3)
OPTIMISE = TrainConfig(
    tokens=BATCH * STEPS, batch_tokens=BATCH, heldout_tokens=500, log_every_steps=5, evaluate_every_steps=20
)
pytestmark = pytest.mark.filterwarnings("ignore::lexiscope.train.collapse.CollapseWarning")


class Marred:
    """A store whose training batches are changed, or leave some out."""

    def __init__(self, store, change=lambda _, x_TD: x_TD, without=()):
        self.store, self.hooks, self.width = store, store.hooks, store.width
        self.change, self.without = change, set(without)

    def batches(self, hook, *, batch_tokens, seed, split="train", epochs=None, skip_tokens=0):
        found = self.store.batches(hook, batch_tokens=batch_tokens, seed=seed, split=split, epochs=epochs)
        if split == "heldout" or epochs is not None:  # held out, or the sample
            return found
        kept = ((n, x_TD) for n, x_TD in enumerate(found) if n not in self.without)
        return (self.change(n, x_TD) for n, x_TD in itertools.islice(kept, skip_tokens // batch_tokens, None))


def huge(number, x_TD):
    return x_TD * 30 if number == BAD else x_TD


def broken(number, x_TD):
    return x_TD * float("nan") if number == BAD else x_TD


def weights(out):
    return (out / "sae.safetensors").read_bytes()


def test_losses_are_judged_by_those_before():
    spikes = Spikes(10.0)
    assert [spikes.judge(loss) for loss in [100.0, *[1.0] * 49]] == [None] * 50  # nothing is a spike so early
    assert spikes.judge(25.0) is None  # the mean is 2.98
    assert spikes.judge(40.0) == "its loss, 40, is 12 times the running mean"
    assert spikes.judge(40.0) is not None  # a spike does not move the mean
    again = Spikes(10.0)
    again.restore(spikes.state())
    assert again.judge(33.0) is None
    for wrong in ([float("nan")], [float("inf")], [1.0, float("nan")]):
        assert spikes.judge(*wrong) == "its loss or gradient is not finite"


def test_by_default_a_spike_is_reported_and_learned_from(store, tmp_path):
    with pytest.warns(CollapseWarning, match=r"sae: step 67: its loss, \S+, is \d+ times the running mean"):
        train(Marred(store, huge), CONFIG, OPTIMISE, out=tmp_path / "sae")
    assert "spikes_left_out" not in open_artifact(tmp_path / "sae", "sae").manifest


def test_what_is_not_finite_ends_the_run_and_the_last_checkpoint_goes_on_without_it(store, tmp_path):
    marred = Marred(store, broken)
    with pytest.raises(TrainingError, match="step 67 ended with .*the activations of its batch are not all finite"):
        train(marred, CONFIG, OPTIMISE, out=tmp_path / "sae", recovery=Recovery(every_steps=20))
    assert not (tmp_path / "sae").exists()
    train(marred, CONFIG, OPTIMISE, out=tmp_path / "sae", recovery=Recovery(every_steps=20, on_spike="skip"))
    manifest = open_artifact(tmp_path / "sae", "sae").manifest
    assert manifest["spikes_left_out"] == ["step 67, batch 66: its loss or gradient is not finite"]


@pytest.mark.parametrize("change", [huge, broken])
def test_a_batch_that_is_skipped_changes_nothing(store, tmp_path, change):
    """Whatever the batch holds, the run ends the same; the step counts in the schedules."""
    recovery = Recovery(on_spike="skip")
    train(Marred(store, change), CONFIG, OPTIMISE, out=tmp_path / "one", recovery=recovery)
    train(
        Marred(store, lambda n, x: 1e6 * x if n == BAD else x), CONFIG, OPTIMISE, out=tmp_path / "b", recovery=recovery
    )
    train(store, CONFIG, OPTIMISE, out=tmp_path / "plain")
    assert weights(tmp_path / "one") == weights(tmp_path / "b") != weights(tmp_path / "plain")


@pytest.mark.parametrize("change", [huge, broken])
def test_rewinding_leaves_out_what_came_since_the_last_checkpoint(store, tmp_path, change):
    """Oracle: a stream without the batches from the checkpoint at step 60 to the spike."""
    recovery = Recovery(every_steps=20, on_spike="rewind")
    train(Marred(store, change), CONFIG, OPTIMISE, out=tmp_path / "one", recovery=recovery)
    train(Marred(store, without=range(60, BAD + 1)), CONFIG, OPTIMISE, out=tmp_path / "other")
    for name in ("sae.safetensors", "metrics.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


class Killed(BaseException):
    """Nothing in the package may catch it."""


@pytest.mark.parametrize("on_spike", ["skip", "rewind"])
def test_a_break_after_a_spike_changes_no_byte(store, tmp_path, on_spike):
    recovery = Recovery(every_steps=20, on_spike=on_spike)

    def kill(number, x_TD):
        if number == 72:
            raise Killed
        return huge(number, x_TD)

    train(Marred(store, huge), CONFIG, OPTIMISE, out=tmp_path / "whole", recovery=recovery)
    with suppress(Killed):
        train(Marred(store, kill), CONFIG, OPTIMISE, out=tmp_path / "broken", recovery=recovery)
    train(Marred(store, huge), CONFIG, OPTIMISE, out=tmp_path / "broken", recovery=recovery)
    for name in ("sae.safetensors", "metrics.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_nothing_but_spikes_is_an_error(store, tmp_path):
    with pytest.raises(TrainingError, match="101 batches were spikes; lower optimise.lr"):
        train(
            Marred(store, lambda _, x_TD: x_TD * float("nan")),
            CONFIG,
            OPTIMISE.model_copy(update={"tokens": 200 * BATCH}),
            out=tmp_path / "sae",
            recovery=Recovery(on_spike="skip"),
        )


def test_a_checkpoint_never_holds_what_is_not_finite(store, tmp_path, monkeypatch):
    """Planted: a weight that is lost at step 30 though the loss does not show it."""
    after = saes.topk.TopK.after_step

    def lose(self, codes):
        after(self, codes)
        lose.steps = getattr(lose, "steps", 0) + 1
        if lose.steps == 30:
            with torch.no_grad():
                self.b_enc_F[5] = float("-inf")

    monkeypatch.setattr(saes.topk.TopK, "after_step", lose)
    with pytest.raises(TrainingError, match="weights or moments are no longer finite at step 40"):
        train(store, CONFIG, OPTIMISE, out=tmp_path / "sae", recovery=Recovery(every_steps=20))
    kept = tmp_path / ".sae.work" / "checkpoints"
    assert [path.name for path in kept.iterdir()] == ["0000000020"]
    shutil.rmtree(kept.parent)
