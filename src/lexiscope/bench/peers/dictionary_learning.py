"""dictionary-learning: ``trainSAE``, which takes batches from an iterable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lexiscope.bench.workload import Workload

STEPS = 1_000_000
"""Length of the run that its schedules are told."""


def run(architecture: str, workload: Workload, batches: Iterator[Tensor]) -> None:
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.gdm import GatedSAETrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate
    from dictionary_learning.trainers.top_k import TopKTrainer
    from dictionary_learning.training import trainSAE

    k = {"k": workload.k}
    prefixes = workload.prefixes
    groups = [upper - lower for lower, upper in zip([0, *prefixes], prefixes, strict=False)]
    trainers: dict[str, tuple[Any, dict[str, Any]]] = {
        "topk": (TopKTrainer, k),
        "batch_topk": (BatchTopKTrainer, k),
        "jumprelu": (JumpReluTrainer, {"target_l0": float(workload.k)}),
        "relu_l1": (StandardTrainerAprilUpdate, {}),
        "gated": (GatedSAETrainer, {}),
        "matryoshka": (
            MatryoshkaBatchTopKTrainer,
            {**k, "group_fractions": [size / workload.num_latents for size in groups]},
        ),
    }
    trainer_class, options = trainers[architecture]
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        made.append(trainer_class(**settings))
        return made[0]

    dead = workload.dead_latents()

    def data() -> Iterator[Tensor]:
        for x_TD in batches:
            if len(dead) and hasattr(made[0], "dead_feature_threshold"):  # the others have no remedy
                made[0].num_tokens_since_fired[dead] = 2 * made[0].dead_feature_threshold
            yield x_TD

    settings = {
        "trainer": make,
        "steps": STEPS,
        "activation_dim": workload.width,
        "dict_size": workload.num_latents,
        "layer": 0,
        "lm_name": "none",
        "device": workload.device,
        **options,
    }
    trainSAE(data(), [settings], steps=STEPS, device=workload.device)
