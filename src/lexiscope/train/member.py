"""Member: one autoencoder on its way from settings to a saved artifact. A run has one, a sweep has many."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lexiscope import saes
from lexiscope.core import memory
from lexiscope.core.checkpoint import Checkpoint, same_conditions
from lexiscope.core.draft import conditions, write_artifact
from lexiscope.core.errors import InputError, TrainingError
from lexiscope.core.progress import Task
from lexiscope.core.seeds import derive_seed
from lexiscope.saes import Batch, SparseAutoencoder, create
from lexiscope.saes.kernels import backend
from lexiscope.saes.settings import SaeConfig
from lexiscope.train.config import Choice, TrainConfig
from lexiscope.train.normalise import Normalisation
from lexiscope.train.settle import settle
from lexiscope.train.sinks import METRICS, Position, Sinks
from lexiscope.train.source import Sites, provenance
from lexiscope.train.spikes import Recovery
from lexiscope.train.stream import Stream
from lexiscope.train.trainer import Trainer
from lexiscope.train.watch import Watch

MOST_SPIKES = 100
"""Batches that may be left out in one run."""


class Plan(NamedTuple):
    """What to train, and where it goes. ``train`` is resolved; ``choices`` say what was left open in it."""

    sae: SaeConfig
    train: TrainConfig
    choices: dict[str, Choice]
    out: Path
    recovery: Recovery

    def settings(self, sites: Sites) -> dict[str, Any]:
        """What the manifest of the autoencoder will say about how it was made."""
        return {
            "sae": self.sae.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
            "reads": [str(hook) for hook in sites.reads],
            "writes": [str(hook) for hook in sites.writes],
        }


class Member:
    """A trainer with its folder. Give it every batch from ``first_batch`` on, then `finish`; or `abandon` it.

    With a checkpoint in its folder it goes on from there. Where it stands is the number of steps done and of batches
    passed over (after a spike); everything random is a function of these and the seeds.

    Raises:
        InputError: the folder is taken, an interrupted run in it was another one, or there is nothing to train.
        ArtifactError: no checkpoint in the folder is whole.
    """

    def __init__(self, plan: Plan, stream: Stream, task: Task) -> None:
        config = plan.train
        sample = stream.sample(config.normalise)
        sae = create(plan.sae, sample, seed=derive_seed(config.seed, "weights"))
        if config.target_l0 is not None:
            sae.start(sample.input_TD, config.target_l0)
        if not any(parameter.requires_grad for parameter in sae.parameters()):
            raise InputError(f"{plan.sae.architecture} has nothing to train; make it with saes.create instead")
        sae.reads, sae.writes = stream.sites
        self.plan, self._stream, self._task = plan, stream, task
        self.trainer = Trainer(sae, config, plan.recovery)
        self._passed_over = 0
        self._fresh_from = 0
        self._spikes: list[str] = []
        self._stack = ExitStack()
        with self._stack:
            made_from, sources = provenance(stream.store)
            settings = {**sae.settings(), "train": config.model_dump(mode="json")}
            self._draft = self._stack.enter_context(
                write_artifact(
                    plan.out,
                    "sae",
                    config=settings,
                    seed=config.seed,
                    made_from=made_from,
                    sources=sources,
                    keeping=plan.recovery,
                )
            )
            self._conditions = {**conditions(), "kernels": backend.report()["cpu"]}
            self._go_on(self._draft.checkpoints.newest())
            task.advance(self.trainer.steps_done * config.batch_tokens)
            remembered = min(self.trainer.remembers, self.next_batch - self._fresh_from)
            self.first_batch = self.next_batch - remembered
            self._stack = self._stack.pop_all()

    @property
    def next_batch(self) -> int:
        """Number of the batch it learns from next."""
        return self.trainer.steps_done + self._passed_over

    @property
    def done(self) -> bool:
        return self.trainer.steps_done >= self.plan.train.steps

    def take(self, number: int, batches: Mapping[Normalisation, Batch]) -> None:
        """Learn from a batch, unless that was done before or the run is over.

        Raises:
            TrainingError: the run has come to nothing.
        """
        batch = batches[self.plan.train.normalise]
        if self.first_batch <= number < self.next_batch:
            self.trainer.see_again(batch, self.next_batch - number)
        if self.done or number != self.next_batch:
            return
        step = self.trainer.step(batch)
        self._watch.see(step)
        if step.left_out:
            self._pass_over(f"step {step.number + 1}, batch {number}: {step.spike}", number)
        elif self._draft.checkpoints.due(self.trainer.steps_done) and not self.done:
            self.save()

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            TrainingError: the weights are not finite; older checkpoints are as they were.
        """
        tensors, values = self.trainer.state()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point()):
            raise TrainingError(
                f"{self.plan.out.name}: weights or moments are no longer finite at step {self.trainer.steps_done}; "
                "lower optimise.lr, or set recovery.on_spike to skip"
            )
        values |= {
            "passed_over": self._passed_over,
            "fresh_from": self._fresh_from,
            "spikes_left_out": self._spikes,
            "watch": self._watch.state(),
            "metrics": self._sinks.position()._asdict(),
            "conditions": self._conditions,
        }
        self._draft.checkpoints.save(self.next_batch, tensors, values)

    def abandon(self, error: BaseException) -> None:
        """Leave nothing behind but checkpoints."""
        self._stack.__exit__(type(error), error, error.__traceback__)

    def finish(self) -> SparseAutoencoder:
        """Save it.

        Raises:
            SelfCheckError: the saved weights do not do what the trained ones did; only checkpoints are left.
        """
        plan, stream, sae = self.plan, self._stream, self.trainer.sae
        if self._watch.warnings:
            self._draft.notes["warnings"] = self._watch.warnings
        if self._spikes:
            self._draft.notes["spikes_left_out"] = self._spikes
        self._draft.notes["conditions"] = self._conditions
        self._sinks.close()
        del self.trainer, self._watch  # the optimizer's memory is needed for reading the weights back
        sae.zero_grad()
        memory.release()
        with self._stack:
            settle(sae, stream.units(plan.train.normalise), stream.heldout, self._draft, plan.train, plan.choices)
        del sae
        return saes.load(plan.out)

    def _go_on(self, checkpoint: Checkpoint | None) -> None:
        """Open the metrics and stand where the checkpoint was written, or at the start."""
        plan = self.plan
        after = None if checkpoint is None else Position(**checkpoint.values["metrics"])
        tensorboard = plan.out.parent / "tensorboard" / plan.out.name
        self._sinks = Sinks(self._draft.path / METRICS, tensorboard, after)
        self._stack.callback(self._sinks.close)
        heldout = partial(self._stream.normal_heldout, plan.train.normalise)
        self._watch = Watch(plan.out.name, plan.train, self.trainer.sae, heldout, self._sinks, self._task)
        if checkpoint is None:
            return
        values = checkpoint.values
        self.trainer.restore(checkpoint.tensors, values)
        self._watch.restore(values["watch"])
        self._passed_over, self._fresh_from = values["passed_over"], values["fresh_from"]
        self._spikes = list(values["spikes_left_out"])
        self._conditions = same_conditions(plan.out.name, self._conditions, values["conditions"])

    def _pass_over(self, spike: str, number: int) -> None:
        """A batch was left out; go back to the last checkpoint if that is what was asked for."""
        self._spikes.append(spike)
        if len(self._spikes) > MOST_SPIKES:
            raise TrainingError(f"{self.plan.out.name}: {len(self._spikes)} batches were spikes; lower optimise.lr")
        checkpoint = self._draft.checkpoints.newest() if self.plan.recovery.on_spike == "rewind" else None
        if checkpoint is None:
            return
        spikes = self._spikes
        self._sinks.close()
        self.trainer = Trainer(self.trainer.sae, self.plan.train, self.plan.recovery)
        self._go_on(checkpoint)
        self._spikes = spikes
        self._passed_over = number + 1 - self.trainer.steps_done
        self._fresh_from = self.first_batch = number + 1
        self.save()
