"""train: learn a dictionary from a store of activations. Everything that touches the weights is in one loop.

T tokens, D model width, F latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from lexiscope import saes
from lexiscope.core.artifact import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.seeds import derive_seed
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState, create
from lexiscope.saes.base import SaeConfig
from lexiscope.train.check import check_saved, fidelity
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.dead import DeadLatents
from lexiscope.train.normalise import Normaliser
from lexiscope.train.schedule import learning_rate_factor, sparsity_factor
from lexiscope.train.sinks import METRICS, open_sinks
from lexiscope.train.source import ActivationSource, choose_hook, provenance, take_rows
from lexiscope.train.watch import Step, Watch

SAMPLE_TOKENS = 32_768
"""Activations from which the normalisation and the first weights are taken."""


def train(
    store: ActivationSource,
    sae_config: SaeConfig,
    train_config: TrainConfig = TrainConfig(),  # noqa: B008  frozen
    *,
    hook: HookPoint | str | None = None,
    out: Path | str,
    progress: Progress = SILENT,
) -> SparseAutoencoder:
    """Train an autoencoder and save it, with its metrics, as an artifact of kind "sae" at ``out``.

    The same store, settings and number of threads give the same bytes of weights.

    Args:
        store: activations on disk or live.
        hook: which of its hook points; may be left out if there is one.

    Raises:
        InputError: ``out`` is taken, no such hook, or nothing to train or to train on.
        SelfCheckError: the saved weights do not do what the trained ones did; nothing is left at ``out``.
    """
    out, hook = Path(out), choose_hook(store, hook)
    config, choices = resolve(train_config, num_latents=sae_config.latents(store.width(hook)))
    seed = config.seed
    sample_TD = torch.cat(take_rows(store, hook, SAMPLE_TOKENS, seed=derive_seed(seed, "sample"), split="train"))
    heldout = take_rows(store, hook, config.heldout_tokens, seed=derive_seed(seed, "heldout"), split="heldout")
    normalise = Normaliser.fit(sample_TD, centre=config.centre)
    sae = create(sae_config, normalise(sample_TD), seed=derive_seed(seed, "weights"))
    if not any(parameter.requires_grad for parameter in sae.parameters()):
        raise InputError(f"{sae_config.architecture} has nothing to train; make it with saes.create instead")
    sae.hook = hook
    settings = {**sae.settings(), "train": config.model_dump(mode="json")}
    with ExitStack() as stack:
        made_from, sources = provenance(store)
        draft = stack.enter_context(
            write_artifact(out, "sae", config=settings, seed=seed, made_from=made_from, sources=sources)
        )
        sinks = open_sinks(draft.path / METRICS, out.parent / "tensorboard" / out.name)
        for sink in sinks:
            stack.callback(sink.close)
        with progress.task("Training", total=config.tokens, unit="tokens") as task:
            heldout_normal = [normalise(x_TD) for x_TD in heldout]
            batches = store.batches(hook, batch_tokens=config.batch_tokens, seed=derive_seed(seed, "batches"))
            optimise(sae, map(normalise, batches), config, Watch(config, sae, heldout_normal, sinks, task).see)
        expected = fidelity(sae, heldout_normal)
        sae.absorb(normalise.centre_D, normalise.scale)
        sae.write_weights(draft.path)
        draft.notes["heldout"] = check_saved(draft.path, sae, expected, heldout)._asdict()
        draft.notes["choices"] = {name: choice._asdict() for name, choice in choices.items()}
        draft.notes["threads"] = torch.get_num_threads()
    return saes.load(out)


def optimise(
    sae: SparseAutoencoder, batches: Iterator[Tensor], config: TrainConfig, see: Callable[[Step], None]
) -> None:
    """The loop. ``batches`` are normalised; ``see`` looks on and changes nothing."""
    assert config.lr is not None
    assert config.warmup_steps is not None
    assert config.dead_after_tokens is not None
    optimizer = torch.optim.Adam(sae.parameters(), lr=config.lr, betas=(0.9, 0.999), fused=True)
    dead = DeadLatents(sae.num_latents, config.dead_after_tokens)
    for step, x_TD in enumerate(islice(batches, config.steps)):
        lr = config.lr * learning_rate_factor(step, config.steps, config.warmup_steps, config.decay_fraction)
        optimizer.param_groups[0]["lr"] = lr
        done = step / config.steps
        state = TrainingState(dead.mask_F, sparsity_factor(done, config.sparsity_warmup_fraction))

        codes = sae.encode(x_TD)
        output_TD = sae.decode(codes)
        terms = sae.losses(Batch(x_TD, x_TD), codes, output_TD, state)

        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        grad_norm = torch.nn.utils.clip_grad_norm_(sae.parameters(), config.grad_clip)
        optimizer.step()
        sae.after_step()
        dead.update(codes)
        see(Step(step, codes.detach(), terms, grad_norm, lr, dead))
