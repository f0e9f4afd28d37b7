"""dictionary-learning: its own ``trainSAE`` on activations of a known world.

Recipe: the defaults of the trainer, activations normalised, and the learning rate falling over the last fifth, as in
the demonstration repository of its authors. With a learning rate of ours: also our warm-up and our dead window.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from dictionary_learning import training
from dictionary_learning.dictionary import JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE, MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.standard import StandardTrainer
from dictionary_learning.trainers.top_k import TopKTrainer
from quality_job import Activations, Job, Judged, run

TRAINERS = {
    "topk": TopKTrainer,
    "batch_topk": BatchTopKTrainer,
    "matryoshka": MatryoshkaBatchTopKTrainer,
    "relu_l1": StandardTrainer,
    "gated": GatedSAETrainer,
    "jumprelu": JumpReluTrainer,
}
COEFFICIENTS = {"relu_l1": "l1_penalty", "gated": "l1_penalty"}


def settings(job: Job) -> dict[str, Any]:
    penalised = job.architecture in {"relu_l1", "gated", "jumprelu"}
    chosen: dict[str, Any] = {
        "steps": job.steps,
        "activation_dim": job.world["width"],
        "dict_size": job.num_latents,
        "layer": 0,
        "lm_name": "world",
        "device": "cpu",
        "seed": job.seed,
        "decay_start": job.steps - job.decay_steps,
        "warmup_steps": min(1000, job.steps // 3) if job.lr is None else job.warmup_steps,
    }
    if job.lr is not None:
        chosen["lr"] = job.lr
    if penalised:
        chosen["sparsity_warmup_steps"] = min(2000, 2 * job.steps // 3) if job.lr is None else job.steps // 10
    if job.architecture == "jumprelu":
        chosen["target_l0"] = job.l0
    elif not penalised:
        chosen["k"] = round(job.l0)
    if job.architecture == "matryoshka":
        chosen["group_fractions"] = [(b - a) / job.num_latents for a, b in pairwise([0, *job.prefixes])]
    if job.coefficient is not None and job.architecture in COEFFICIENTS:
        chosen[COEFFICIENTS[job.architecture]] = job.coefficient
    return chosen


def train(job: Job, activations: Activations) -> Judged:
    kept = []

    class Kept(TRAINERS[job.architecture]):  # type: ignore[misc]  # trainSAE gives nothing back
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if job.lr is not None:
                self.dead_feature_threshold = job.dead_after_tokens
            kept.append(self)

    torch.manual_seed(job.seed)
    training.trainSAE(
        activations,
        [{"trainer": Kept, **settings(job)}],
        steps=job.steps,
        use_wandb=False,
        save_dir=None,
        normalize_activations=True,
        device="cpu",
    )
    sae = kept[0].ae
    rows_FD = sae.W_dec if isinstance(sae, (MatryoshkaBatchTopKSAE, JumpReluAutoEncoder)) else sae.decoder.weight.T
    chooses = job.architecture in {"batch_topk", "matryoshka"}
    return Judged(sae.encode, sae.decode, rows_FD, sae.threshold if chooses else None)


if __name__ == "__main__":
    run(train)
