"""train: learn a dictionary from a store of activations. Everything that touches the weights is in `Trainer.step`.

T tokens, D model width, F latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import torch

from lexiscope import saes
from lexiscope.core.artifact import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.seeds import derive_seed
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState, create
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import SaeConfig
from lexiscope.train.adam import Adam
from lexiscope.train.check import check_saved, fidelity
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.dead import DeadLatents
from lexiscope.train.normalise import fit
from lexiscope.train.schedule import learning_rate_factor
from lexiscope.train.sinks import METRICS, open_sinks
from lexiscope.train.source import ActivationSource, Hooks, batches_at, choose_sites, join, provenance, take_rows
from lexiscope.train.sparsity import Sparsity
from lexiscope.train.terms import make_term
from lexiscope.train.terms.term import AfterStep
from lexiscope.train.watch import Step, Watch

SAMPLE_TOKENS = 32_768
"""Activations from which the normalisation and the first weights are taken."""


class Trainer:
    """One autoencoder in training, and all that moves with it: optimizer, dead latents, terms, sparsity.

    Args:
        config: resolved, without None.
    """

    def __init__(self, sae: SparseAutoencoder, config: TrainConfig) -> None:
        assert config.lr is not None
        assert config.dead_after_tokens is not None
        self.sae = sae.train()
        self.config = config
        self.optimizer = Adam(sae.parameters(), config.lr, unit_rows=sae.unit_rows, grad_clip=config.grad_clip)
        self.dead = DeadLatents(sae.num_latents, config.dead_after_tokens)
        self.terms = [make_term(term, sae) for term in config.terms or ()]
        self.sparsity = Sparsity(warmup_fraction=config.sparsity_warmup_fraction, target_l0=config.target_l0)
        self.steps_done = 0

    def step(self, batch: Batch) -> Step:
        """Learn from one batch of normalised activations."""
        config, sae, number = self.config, self.sae, self.steps_done
        assert config.lr is not None
        assert config.warmup_steps is not None
        progress = number / config.steps
        lr = config.lr * learning_rate_factor(number, config.steps, config.warmup_steps, config.decay_fraction)
        state = TrainingState(self.dead.mask_F, self.sparsity.factor(progress), progress)

        codes = sae.encode(batch.input_TD)
        output_TD = sae.reconstruct(batch.input_TD, codes)
        losses = sae.losses(batch, codes, output_TD, state)
        for term in self.terms:
            losses |= term.losses(batch, codes, output_TD, state)

        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.param_groups[0]["lr"] = lr
        grad_norm = self.optimizer.step()

        codes, output_TD = codes.fired(), output_TD.detach()
        sae.after_step(codes)
        self.dead.update(codes)
        self.sparsity.update(len(codes) / codes.num_tokens, progress)
        done = AfterStep(batch, codes, output_TD, self.optimizer, self.dead, number, config.steps)
        for term in self.terms:
            term.after_step(done)
        self.steps_done += 1
        return Step(number, codes, losses, grad_norm, lr, self.dead, state.sparsity_scale)


def train(
    store: ActivationSource,
    sae_config: SaeConfig,
    train_config: TrainConfig = TrainConfig(),  # noqa: B008  frozen
    *,
    hook: Hooks = None,
    target: Hooks = None,
    out: Path | str,
    progress: Progress = SILENT,
) -> SparseAutoencoder:
    """Train an autoencoder and save it, with its metrics, as an artifact of kind "sae" at ``out``.

    The same store, settings and number of threads give the same bytes of weights.

    Args:
        store: activations on disk or live.
        hook: which of its hook points to read; may be left out if there is one. Several for a crosscoder.
        target: which to write, for a transcoder. None: the same.

    Raises:
        InputError: ``out`` is taken, no such hook, or nothing to train or to train on.
        SelfCheckError: the saved weights do not do what the trained ones did; nothing is left at ``out``.
    """
    out, sites = Path(out), choose_sites(store, hook, target)
    read_widths, written_widths = sites.widths(store)
    config, choices = resolve(train_config, sae_config, sum(read_widths))
    assert config.data_seed is not None
    sample = join(take_rows(store, sites, SAMPLE_TOKENS, seed=derive_seed(config.data_seed, "sample"), split="train"))
    heldout = take_rows(
        store, sites, config.heldout_tokens, seed=derive_seed(config.data_seed, "heldout"), split="heldout"
    )
    source = fit(sample.input_TD, config.normalise, read_widths)
    same = sample.input_TD is sample.target_TD
    units = source, source if same else fit(sample.target_TD, config.normalise, written_widths)
    sae = create(sae_config, normal(sample, units), seed=derive_seed(config.seed, "weights"))
    if not any(parameter.requires_grad for parameter in sae.parameters()):
        raise InputError(f"{sae_config.architecture} has nothing to train; make it with saes.create instead")
    sae.reads, sae.writes = sites
    trainer = Trainer(sae, config)
    settings = {**sae.settings(), "train": config.model_dump(mode="json")}
    with ExitStack() as stack:
        made_from, sources = provenance(store)
        draft = stack.enter_context(
            write_artifact(out, "sae", config=settings, seed=config.seed, made_from=made_from, sources=sources)
        )
        sinks = open_sinks(draft.path / METRICS, out.parent / "tensorboard" / out.name)
        for sink in sinks:
            stack.callback(sink.close)
        with progress.task("Training", total=config.tokens, unit="tokens") as task:
            heldout_normal = [normal(batch, units) for batch in heldout]
            batches = batches_at(
                store, sites, batch_tokens=config.batch_tokens, seed=derive_seed(config.data_seed, "batches")
            )
            see = Watch(config, sae, heldout_normal, sinks, task).see
            optimise(trainer, (normal(batch, units) for batch in batches), see)
        sae.eval()
        sae.calibrate(join(heldout_normal).input_TD, config.target_l0)
        expected = fidelity(sae, heldout_normal)
        sae.absorb(*units)
        sae.write_weights(draft.path)
        draft.notes["heldout"] = check_saved(draft.path, sae, expected, heldout)._asdict()
        draft.notes["choices"] = {name: choice._asdict() for name, choice in choices.items()}
        draft.notes["threads"] = torch.get_num_threads()
    return saes.load(out)


def optimise(trainer: Trainer, batches: Iterator[Batch], see: Callable[[Step], None]) -> None:
    """The loop. ``batches`` are normalised; ``see`` looks on and changes nothing."""
    for batch in islice(batches, trainer.config.steps):
        see(trainer.step(batch))


def normal(batch: Batch, units: tuple[Affine, Affine]) -> Batch:
    """A batch in the units of training."""
    source, target = units
    if batch.input_TD is batch.target_TD:
        return Batch.same(source(batch.input_TD))
    return Batch(source(batch.input_TD), target(batch.target_TD))
