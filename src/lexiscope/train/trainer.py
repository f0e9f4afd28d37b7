"""Trainer: everything that touches the weights is in `Trainer.step`.

T tokens, D model width, F latents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.repair import mendable
from lexiscope.train.adam import Adam
from lexiscope.train.config import TrainConfig
from lexiscope.train.dead import DeadLatents
from lexiscope.train.precision import rounded, rounded_weights
from lexiscope.train.schedule import learning_rate_factor
from lexiscope.train.sparsity import Sparsity
from lexiscope.train.spikes import Recovery, Spikes
from lexiscope.train.step import Step
from lexiscope.train.terms import make_term
from lexiscope.train.terms.term import AfterStep, Term


class Trainer:
    """One autoencoder in training, and all that moves with it: optimizer, dead latents, terms, sparsity.

    Args:
        config: resolved, without None.

    Raises:
        InputError: a term or a repair makes no sense for this autoencoder.
    """

    def __init__(self, sae: SparseAutoencoder, config: TrainConfig, recovery: Recovery = Recovery()) -> None:  # noqa: B008  frozen
        assert config.lr is not None
        assert config.dead_after_tokens is not None
        if config.repair:
            mendable(sae, config.repair)
        self.sae = sae.train()
        self._leaves_spikes_out = recovery.on_spike != "go_on"
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
        self.spikes = Spikes(recovery.spike_factor)
        self.steps_done = 0

    def step(self, batch: Batch) -> Step:
        """Learn from one batch of normalised activations, unless it is a spike that is to be left out."""
        config, sae, number = self.config, self.sae, self.steps_done
        assert config.lr is not None
        assert config.warmup_steps is not None
        progress = number / config.steps
        lr = config.lr * learning_rate_factor(number, config.steps, config.warmup_steps, config.decay_fraction)
        state = TrainingState(self.dead.mask_F, self.sparsity.factor(progress), progress, number, self.dead.quiet_F)

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
            total = torch.stack(list(losses.values())).sum()
            total.backward()  # type: ignore[no-untyped-call]
            for term in self.terms:
                term.add_gradients()

        loss = float(losses.get("reconstruction", total).detach())
        spike: str | None = None

        def accept(norm: Tensor) -> bool:
            nonlocal spike
            spike = self.spikes.judge(loss, float(norm))
            return spike is None or (not self._leaves_spikes_out and math.isfinite(loss) and math.isfinite(norm))

        self.optimizer.lr = lr
        grad_norm = self.optimizer.step(accept)
        left_out = spike is not None and self._leaves_spikes_out
        codes, output_TD = codes.fired(), output_TD.detach()
        if not left_out:
            self._after_step(batch, codes, output_TD, progress)
        self.steps_done += 1
        return Step(
            number, codes, losses, grad_norm, lr, self.dead, state.sparsity_scale, batch, output_TD, spike, left_out
        )

    def _after_step(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, progress: float) -> None:
        """Running numbers, and what terms do to weights that have moved."""
        config, sae = self.config, self.sae
        sae.after_step(codes)
        self.dead.update(codes)
        if config.target_l0 is not None:
            sae.steer(self.sparsity.update(len(codes) / codes.num_tokens, progress))
        done = AfterStep(batch, codes, output_TD, self.optimizer, self.dead, self.steps_done, config.steps)
        for term in self.terms:
            term.after_step(done)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next step depends on, besides settings and the batches that terms remember.

        Tensors as they are, not copies; values ready for JSON.
        """
        tensors = {
            **{f"sae/{name}": tensor for name, tensor in self.sae.state_dict().items()},
            **{f"adam/{name}": tensor for name, tensor in self.optimizer.state_dict().items()},
            "dead/silent_tokens_F": self.dead.silent_tokens_F,
        }
        values = {"steps": self.steps_done, "sparsity": self.sparsity.state(), "spikes": self.spikes.state()}
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from a `state` of a trainer with the same settings.

        Raises:
            ArtifactError: it is that of another one, or lacks something.
        """
        parts: dict[str, dict[str, Tensor]] = {"sae": {}, "adam": {}, "dead": {}}
        try:
            for name, tensor in tensors.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = tensor
            self.sae.load_state_dict(parts["sae"])
            self.optimizer.load_state_dict(parts["adam"])
            self.dead.silent_tokens_F = parts["dead"]["silent_tokens_F"].to(self.sae.device)
            self.sparsity.restore(values["sparsity"])
            self.spikes.restore(values["spikes"])
            self.steps_done = values["steps"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ArtifactError(f"the checkpoint is not one of this run: {error}") from None

    @property
    def remembers(self) -> int:
        """How many of the last batches some term holds."""
        return max((self._remembered_by(term) for term in self.terms), default=0)

    def see_again(self, batch: Batch, ago: int) -> None:
        """Give terms a batch they remembered before a checkpoint; ``ago`` counts back, 1 is the last."""
        batch = rounded(batch, self.config.precision)
        for term in self.terms:
            if ago <= self._remembered_by(term):
                term.see_again(batch)

    def _remembered_by(self, term: Term) -> int:
        return term.remembers(self.steps_done, self.config.steps, self.config.batch_tokens)
