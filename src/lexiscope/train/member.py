"""Member: one autoencoder on its way from settings to a saved artifact. A run has one, a sweep has many."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lexiscope import saes
from lexiscope.core import memory
from lexiscope.core.artifact import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.progress import Task
from lexiscope.core.seeds import derive_seed
from lexiscope.saes import Batch, SparseAutoencoder, create
from lexiscope.saes.base import SaeConfig
from lexiscope.train.config import Choice, TrainConfig
from lexiscope.train.normalise import Normalisation
from lexiscope.train.settle import settle
from lexiscope.train.sinks import METRICS, open_sinks
from lexiscope.train.source import Sites, provenance
from lexiscope.train.stream import Stream
from lexiscope.train.trainer import Trainer
from lexiscope.train.watch import Watch


class Plan(NamedTuple):
    """What to train, and where it goes. ``train`` is resolved; ``choices`` say what was left open in it."""

    sae: SaeConfig
    train: TrainConfig
    choices: dict[str, Choice]
    out: Path

    def settings(self, sites: Sites) -> dict[str, Any]:
        """What the manifest of the autoencoder will say about how it was made."""
        return {
            "sae": self.sae.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
            "reads": [str(hook) for hook in sites.reads],
            "writes": [str(hook) for hook in sites.writes],
        }


class Member:
    """A trainer with its folder. Call `step` for every batch, then `finish`; or `abandon` it.

    Raises:
        InputError: the folder is taken, or there is nothing to train.
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
        self.plan, self._stream = plan, stream
        self.trainer = Trainer(sae, config)
        self._stack = ExitStack()
        with self._stack:
            made_from, sources = provenance(stream.store)
            settings = {**sae.settings(), "train": config.model_dump(mode="json")}
            self._draft = self._stack.enter_context(
                write_artifact(plan.out, "sae", config=settings, seed=config.seed, made_from=made_from, sources=sources)
            )
            sinks = open_sinks(self._draft.path / METRICS, plan.out.parent / "tensorboard" / plan.out.name)
            for sink in sinks:
                self._stack.callback(sink.close)
            heldout = partial(stream.normal_heldout, config.normalise)
            self._watch = Watch(plan.out.name, config, sae, heldout, sinks, task)
            self._stack = self._stack.pop_all()

    def step(self, batches: Mapping[Normalisation, Batch]) -> None:
        """Learn from one batch, unless the run is over.

        Raises:
            TrainingError: the run has come to nothing.
        """
        if self.trainer.steps_done < self.plan.train.steps:
            self._watch.see(self.trainer.step(batches[self.plan.train.normalise]))

    def abandon(self, error: BaseException) -> None:
        """Leave nothing behind."""
        self._stack.__exit__(type(error), error, error.__traceback__)

    def finish(self) -> SparseAutoencoder:
        """Save it.

        Raises:
            SelfCheckError: the saved weights do not do what the trained ones did; nothing is left.
        """
        plan, stream, sae = self.plan, self._stream, self.trainer.sae
        if self._watch.warnings:
            self._draft.notes["warnings"] = self._watch.warnings
        del self.trainer, self._watch  # the optimizer's memory is needed for reading the weights back
        sae.zero_grad()
        memory.release()
        with self._stack:
            settle(sae, stream.units(plan.train.normalise), stream.heldout, self._draft, plan.train, plan.choices)
        del sae
        return saes.load(plan.out)
