"""SAELens: its own ``SAETrainer`` on activations of a known world, judged as the autoencoder that it saves.

Recipe: as in the tutorials of its documentation: Adam at 3e-4, the rate falling over the last fifth, activations
scaled by their average norm, an L1 or L0 coefficient that rises over the first twentieth (for JumpReLU over the whole
run, with the tanh penalty). With a learning rate of ours: also our warm-up, sparsity warm-up and dead window.
"""

from __future__ import annotations

import tempfile
from itertools import chain, islice
from typing import Any

import torch
from quality_job import Activations, Job, Judged, run
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    LoggingConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

NORM_BATCHES = 50
"""For the average norm. They come from the start of the stream, which then begins again."""


def autoencoder(job: Job) -> Any:
    base = {
        "d_in": job.world["width"],
        "d_sae": job.num_latents,
        "dtype": "float32",
        "device": "cpu",
        "normalize_activations": "expected_average_only_in",
    }
    warmup = job.steps // (20 if job.lr is None else 10)
    penalty = {} if job.coefficient is None else {"l1_coefficient": job.coefficient}
    match job.architecture:
        case "topk":
            return TopKTrainingSAE(TopKTrainingSAEConfig(**base, k=round(job.l0)))
        case "batch_topk":
            return BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**base, k=job.l0))
        case "matryoshka":
            config = MatryoshkaBatchTopKTrainingSAEConfig(**base, k=job.l0, matryoshka_widths=job.prefixes)
            return MatryoshkaBatchTopKTrainingSAE(config)
        case "relu_l1":
            return StandardTrainingSAE(StandardTrainingSAEConfig(**base, l1_warm_up_steps=warmup, **penalty))
        case "gated":
            return GatedTrainingSAE(GatedTrainingSAEConfig(**base, l1_warm_up_steps=warmup, **penalty))
        case "jumprelu":
            config = JumpReLUTrainingSAEConfig(
                **base,
                l0_coefficient=5.0 if job.coefficient is None else job.coefficient,
                l0_warm_up_steps=job.steps if job.lr is None else warmup,
                jumprelu_sparsity_loss_mode="tanh",
                jumprelu_init_threshold=0.1,
                jumprelu_bandwidth=2.0,
                pre_act_loss_coefficient=3e-6,
            )
            return JumpReLUTrainingSAE(config)
        case other:
            raise SystemExit(f"SAELens has no {other}")


def train(job: Job, activations: Activations) -> Judged:
    torch.manual_seed(job.seed)
    sae, rate = autoencoder(job), 3e-4 if job.lr is None else job.lr
    config = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=job.steps * job.batch_tokens,
        device="cpu",
        autocast=False,
        lr=rate,
        lr_end=rate,
        lr_scheduler_name="constant",
        lr_warm_up_steps=0 if job.lr is None else job.warmup_steps,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=job.decay_steps,
        n_restart_cycles=1,
        train_batch_size_samples=job.batch_tokens,
        dead_feature_window=1000 if job.lr is None else max(1, job.dead_after_tokens // job.batch_tokens),
        feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False, eval_every_n_wandb_logs=2**31 - 1),
        n_batches_for_norm_estimate=NORM_BATCHES,
    )
    stream = chain(islice(activations, NORM_BATCHES), activations)
    trained = SAETrainer(cfg=config, sae=sae, data_provider=stream).fit()
    with tempfile.TemporaryDirectory() as folder:
        trained.save_inference_model(folder)
        saved = SAE.load_from_disk(folder, device="cpu")
    chooses = job.architecture in {"batch_topk", "matryoshka"}
    return Judged(saved.encode, saved.decode, saved.W_dec, saved.threshold.data if chooses else None)


if __name__ == "__main__":
    run(train)
