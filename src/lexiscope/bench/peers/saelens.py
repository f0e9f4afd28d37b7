"""SAELens: ``SAETrainer.fit``, which takes batches from an iterator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lexiscope.bench.workload import Workload

STEPS = 1_000_000
"""Length of the run that its schedules are told."""


def run(architecture: str, workload: Workload, batches: Iterator[Tensor], **options: Any) -> None:
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sizes = {"d_in": workload.width, "d_sae": workload.num_latents, "device": workload.device, **options}
    make, config = {
        "topk": lambda: (
            sae_lens.TopKTrainingSAE,
            sae_lens.TopKTrainingSAEConfig(k=workload.k, **sizes),
        ),
        "batch_topk": lambda: (
            sae_lens.BatchTopKTrainingSAE,
            sae_lens.BatchTopKTrainingSAEConfig(k=workload.k, **sizes),
        ),
        "jumprelu": lambda: (sae_lens.JumpReLUTrainingSAE, sae_lens.JumpReLUTrainingSAEConfig(**sizes)),
        "relu_l1": lambda: (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig(**sizes)),
        "gated": lambda: (sae_lens.GatedTrainingSAE, sae_lens.GatedTrainingSAEConfig(**sizes)),
        "matryoshka": lambda: (
            sae_lens.MatryoshkaBatchTopKTrainingSAE,
            sae_lens.MatryoshkaBatchTopKTrainingSAEConfig(k=workload.k, matryoshka_widths=workload.prefixes, **sizes),
        ),
    }[architecture]()
    trainer_config = SAETrainerConfig(
        total_training_samples=STEPS * workload.tokens,
        train_batch_size_samples=workload.tokens,
        device=workload.device,
        lr_end=3e-5,  # a tenth of the rate, which is what its runner fills in
    )
    dead = workload.dead_latents()

    def provider() -> Iterator[Tensor]:
        for x_TD in batches:
            if len(dead):
                trainer.n_forward_passes_since_fired[dead] = 2.0 * trainer_config.dead_feature_window
            yield x_TD

    trainer = SAETrainer(trainer_config, make(config), provider())
    with contextlib.suppress(StopIteration):  # its loop has no other way to end early
        trainer.fit()
