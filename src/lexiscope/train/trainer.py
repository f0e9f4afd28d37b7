"""Trainer: everything that touches the weights is in `Trainer.step`.

T tokens, D model width, F latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.repair import mendable
from lexiscope.train.adam import Adam
from lexiscope.train.config import TrainConfig
from lexiscope.train.dead import DeadLatents
from lexiscope.train.precision import rounded, rounded_weights
from lexiscope.train.schedule import learning_rate_factor
from lexiscope.train.sparsity import Sparsity
from lexiscope.train.terms import make_term
from lexiscope.train.terms.term import AfterStep
from lexiscope.train.watch import Step


class Trainer:
    """One autoencoder in training, and all that moves with it: optimizer, dead latents, terms, sparsity.

    Args:
        config: resolved, without None.

    Raises:
        InputError: a term or a repair makes no sense for this autoencoder.
    """

    def __init__(self, sae: SparseAutoencoder, config: TrainConfig) -> None:
        assert config.lr is not None
        assert config.dead_after_tokens is not None
        if config.repair:
            mendable(sae, config.repair)
        self.sae = sae.train()
        self.config = config
        self.optimizer = Adam(
            sae.parameters(),
            config.lr,
            unit_rows=sae.unit_rows,
            grad_clip=config.grad_clip,
            state_bits=config.optimizer_bits,
        )
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

        batch = rounded(batch, config.precision)
        self.optimizer.zero_grad()
        sae.before_step(progress)
        with rounded_weights(sae, config.precision):
            codes = sae.encode(batch.input_TD)
            output_TD = sae.reconstruct(batch.input_TD, codes)
            losses = sae.losses(batch, codes, output_TD, state)
            for term in self.terms:
                losses |= term.losses(batch, codes, output_TD, state)
            if config.target_l0 is not None and "sparsity" not in losses:
                raise InputError(f"{sae.config.architecture} has no penalty that target_l0 could steer; leave it out")
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            for term in self.terms:
                term.add_gradients()

        self.optimizer.lr = lr
        grad_norm = self.optimizer.step()

        codes, output_TD = codes.fired(), output_TD.detach()
        sae.after_step(codes)
        self.dead.update(codes)
        if config.target_l0 is not None:
            sae.steer(self.sparsity.update(len(codes) / codes.num_tokens, progress))
        done = AfterStep(batch, codes, output_TD, self.optimizer, self.dead, number, config.steps)
        for term in self.terms:
            term.after_step(done)
        self.steps_done += 1
        return Step(number, codes, losses, grad_norm, lr, self.dead, state.sparsity_scale, batch, output_TD)


def optimise(trainer: Trainer, batches: Iterator[Batch], see: Callable[[Step], None]) -> None:
    """The loop. ``batches`` are normalised; ``see`` looks on and changes nothing."""
    for batch in islice(batches, trainer.config.steps):
        see(trainer.step(batch))
