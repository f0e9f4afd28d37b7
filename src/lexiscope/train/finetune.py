"""Fine-tuning end to end: a trained autoencoder learns what the model makes of its reconstructions.

    L = L_sae + w · c · KL(model ‖ model with x̂ in place of x),   c = MSE / KL of the batch, a constant to the gradient

so that with w = 1 both weigh the same whatever their units; cross-entropy on the text takes KL's place if asked for.

Source: Karvonen 2025, "Revisiting End-To-End Sparse Autoencoder Training: A Short Finetune Is All You Need"; Braun et
al. 2024 for KL as the target. T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from lexiscope import saes
from lexiscope.core.codes import SparseCodes
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.normalise import fit
from lexiscope.train.settle import settle
from lexiscope.train.sinks import METRICS, Sinks
from lexiscope.train.source import join
from lexiscope.train.stream import Units
from lexiscope.train.terms.term import Term, TermConfig
from lexiscope.train.trainer import Trainer
from lexiscope.train.watch import Watch


class Text(Protocol):
    """Some text in front of the model: `lexiscope.lm.passage.Passage`."""

    def read(self, hook: HookPoint) -> Tensor: ...
    def log_probabilities(self, hook: HookPoint, replace: Any) -> Tensor: ...
    def divergence(self, log_probabilities_NV: Tensor) -> Tensor: ...
    def cross_entropy(self, log_probabilities_NV: Tensor) -> Tensor: ...


class Config(TermConfig):
    loss: Literal["kl", "cross_entropy"] = "kl"
    """What the model's predictions are compared with: its own without the autoencoder, or the text."""
    weight: float = Field(1.0, gt=0)
    """w: of the model's loss against the reconstruction."""


class Predictions(NamedTuple):
    """On held-out text, with the reconstruction in place; nats per token."""

    kl: float
    cross_entropy: float


class EndToEnd(Term):
    """Adds the model's loss on ``passage``, which has to be set to the text of each batch before its step."""

    config: Config
    config_type = Config

    def __init__(self, config: Config, sae: SparseAutoencoder, units: Units) -> None:
        super().__init__(config, sae)
        self._units = units
        self.passage: Text | None = None

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        assert self.passage is not None
        raw_TD = self._units.target.undo(output_TD)
        predictions_NV = self.passage.log_probabilities(self.sae.writes[0], lambda _: raw_TD)
        compare = self.passage.divergence if self.config.loss == "kl" else self.passage.cross_entropy
        loss = compare(predictions_NV).mean()
        error = (output_TD - batch.target_TD).square().mean()
        balance = (error / loss.clamp_min(1e-8)).detach()
        return {"end_to_end": self.config.weight * balance * loss}


def finetune(
    sae: SparseAutoencoder,
    passages: Iterable[Text],
    heldout: Sequence[Text],
    train_config: TrainConfig,
    config: Config = Config(),  # noqa: B008  frozen
    *,
    out: Path | str,
    progress: Progress = SILENT,
) -> SparseAutoencoder:
    """Train a saved autoencoder further, through the model, and save the result at ``out``.

    Args:
        sae: reads one hook point and writes one. It is changed.
        passages: training text without end. A step learns from one; ``train_config.batch_tokens`` is about how many
            tokens each has, and only counts steps and dead latents.
        heldout: text to compare the model's predictions on, before and after; at least one.

    Raises:
        InputError: ``out`` is taken, or the autoencoder reads or writes several hook points.
        TrainingError: a loss is not finite; nothing is left at ``out``.
        SelfCheckError: the saved weights do not do what the trained ones did; nothing is left at ``out``.
    """
    if len(sae.reads) != 1 or len(sae.writes) != 1:
        raise InputError("end-to-end training needs an autoencoder that reads one hook point and writes one")
    started_from, out = sae.artifact, Path(out)
    raw = [_batch(text, sae) for text in heldout]
    before = predict(sae, heldout)
    units = _fit(join(raw), train_config)
    sae.absorb(*(unit.inverse() for unit in units))
    config_all, choices = resolve(train_config, sae.config, sae.width)
    normal = [units(batch) for batch in raw]
    trainer = Trainer(sae, config_all)
    term = EndToEnd(config, sae, units)
    trainer.terms.append(term)
    settings = {
        **sae.settings(),
        "train": config_all.model_dump(mode="json"),
        "finetune": config.model_dump(mode="json"),
    }
    made_from = [started_from] if started_from is not None else []
    with write_artifact(out, "sae", config=settings, seed=config_all.seed, made_from=made_from) as draft:
        sinks = Sinks(draft.path / METRICS, out.parent / "tensorboard" / out.name)
        with progress.task("Fine-tuning", total=config_all.tokens, unit="tokens") as task:
            watch = Watch(out.name, config_all, sae, lambda: normal, sinks, task)
            for text, batch in _steps(passages, sae, units, config_all.steps):
                term.passage = text
                watch.see(trainer.step(batch))
        sinks.close()
        if watch.warnings:
            draft.notes["warnings"] = watch.warnings
        settle(sae, units, raw, draft, config_all, choices)
        draft.notes["predictions"] = {"before": before._asdict(), "after": predict(sae, heldout)._asdict()}
    return saes.load(out)


@torch.no_grad()
def predict(sae: SparseAutoencoder, texts: Iterable[Text]) -> Predictions:
    """The model's predictions with the reconstruction in place, mean over all tokens of all texts."""
    sums, count = torch.zeros(2, dtype=torch.float64), 0
    for text in texts:
        batch = _batch(text, sae)
        output_TD = sae(batch.input_TD)
        predictions_NV = text.log_probabilities(sae.writes[0], lambda _, output_TD=output_TD: output_TD)
        kl_N, cross_entropy_N = text.divergence(predictions_NV), text.cross_entropy(predictions_NV)
        sums += torch.stack([kl_N.double().sum(), cross_entropy_N.double().sum()]).cpu()
        count += len(kl_N)
    kl, cross_entropy = (sums / count).tolist()
    return Predictions(kl, cross_entropy)


def _batch(text: Text, sae: SparseAutoencoder) -> Batch:
    input_TD = text.read(sae.reads[0])
    return Batch.same(input_TD) if sae.reads == sae.writes else Batch(input_TD, text.read(sae.writes[0]))


def _steps(passages: Iterable[Text], sae: SparseAutoencoder, units: Units, steps: int) -> Iterator[tuple[Text, Batch]]:
    for _, text in zip(range(steps), passages, strict=False):
        yield text, units(_batch(text, sae))


def _fit(sample: Batch, config: TrainConfig) -> Units:
    source = fit(sample.input_TD, config.normalise)
    same = sample.input_TD is sample.target_TD
    return Units(source, source if same else fit(sample.target_TD, config.normalise))
