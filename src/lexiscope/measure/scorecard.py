"""Scorecard: how good an autoencoder is, with what trivial dictionaries score on the same tokens beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, ValidationError, model_validator

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.config import Config, describe
from lexiscope.core.disk import write_json
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.seeds import derive_seed
from lexiscope.harvest.store import ActivationStore
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts.report import ConceptReport
from lexiscope.measure.heldout import Excerpts, text_of
from lexiscope.measure.passes import HeldoutText, score_concepts, score_predictions, score_reconstructions
from lexiscope.measure.scores import Amount, Histogram, Losses, MetricScores, Row, Score
from lexiscope.saes import create
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.saes.baselines import fit_all, linear_map
from lexiscope.text.corpus import Corpus
from lexiscope.train.source import Sites, batches_at, choose_sites

__all__ = ["SAE", "MeasureConfig", "Score", "Scorecard", "measure"]

SAE = "sae"
"""The column of the autoencoder itself."""
FILE = "scorecard.json"
HEADLINES = ("l0", "fvu", "loss_recovered_mean_ablation", "dead_fraction")
"""The metrics that come first."""


class MeasureConfig(Config):
    """How much to measure on."""

    tokens: int = Field(100_000, ge=1)
    """Held-out activations from the store; fewer if it has fewer."""
    loss_tokens: int = Field(16_000, ge=1)
    """Held-out tokens to splice the reconstructions into."""
    concept_tokens: int = Field(150_000, ge=1)
    """Held-out tokens in which concepts are looked for."""
    sample_tokens: int = Field(16_384, ge=2)
    """Training activations that the trivial dictionaries are fitted on."""
    seed: int = 0


class Scorecard(Config):
    """Everything that was measured. ``str`` of it is a table."""

    hook: str
    model: str
    architecture: str
    width: int
    num_latents: int
    activations: Amount
    """Held-out activations, for metrics of reconstruction and firing."""
    predictions: Amount
    """Held-out next-token predictions, for metrics of loss."""
    metrics: dict[str, MetricScores]
    losses: Losses
    density: Histogram
    """Live latents by log10 of the share of tokens they fire on."""
    concepts: ConceptReport

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in HEADLINES:
            if name not in self.metrics or SAE not in self.metrics[name].scores:
                raise ValueError(f"no {name} of the autoencoder")
        return self

    @property
    def columns(self) -> list[str]:
        """Names of the dictionaries, the autoencoder first."""
        return list(next(iter(self.metrics.values())).scores)

    def value(self, metric: str, column: str = SAE) -> float | None:
        return self.metrics[metric].scores[column].value

    def rows(self) -> Iterator[Row]:
        """The metrics, headlines first, and concept coverage."""
        order = [*HEADLINES, *sorted(set(self.metrics) - set(HEADLINES))]
        for name in order:
            yield Row(name=name, **dict(self.metrics[name]))
        shares = {
            name: Score(value=item.share, low=item.low, high=item.high) for name, item in self.concepts.coverage.items()
        }
        unit = f"share of {self.concepts.judged} concepts"
        yield Row(name="concept_coverage", unit=unit, better="higher", scores=shares)

    def summary(self) -> dict[str, Any]:
        """The headlines, ready for JSON."""
        coverage = {name: item.share for name, item in self.concepts.coverage.items()}
        return {**{name: self.value(name) for name in HEADLINES}, "concept_coverage": coverage}

    def __str__(self) -> str:
        """A table of plain text: one line per metric, the interval beside the autoencoder's own number."""
        title = (
            f"{self.architecture} with {self.num_latents:,} latents at {self.hook} of {self.model}: "
            f"{self.activations.tokens:,} activations, {self.predictions.tokens:,} predictions"
        )
        lines = [["metric", *self.columns, "unit"]]
        for row in self.rows():
            cells = [_cell(row.scores.get(column), interval=column == SAE) for column in self.columns]
            lines.append([row.name + {"higher": " ↑", "lower": " ↓", "neither": ""}[row.better], *cells, row.unit])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:-1]), unit])
            for name, *cells, unit in lines
        ]
        shown = map(one_line, [title, *table])
        return "\n".join([*shown, "95 % intervals in brackets; ↑ higher is better, ↓ lower is better"])

    def save(
        self, out: Path | str, *, config: MeasureConfig, made_from: list[Artifact], sources: dict[str, Any]
    ) -> None:
        """Write an artifact of kind "scorecard".

        Raises:
            InputError: ``out`` is taken or can't be written.
        """
        settings = config.model_dump(mode="json")
        with write_artifact(out, "scorecard", config=settings, made_from=made_from, sources=sources) as draft:
            write_json(draft.path / FILE, self.model_dump(mode="json"))

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Read a saved scorecard.

        Raises:
            ArtifactError: it is not one, or it is damaged.
        """
        file = open_artifact(path, "scorecard").checked_file(FILE)
        try:
            return cls.model_validate(json.loads(file.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise ArtifactError(f"{file}: {describe(error)}; measure again") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ArtifactError(f"{file} can't be read ({error}); measure again") from None


def _cell(score: Score | None, *, interval: bool) -> str:
    if score is None or score.value is None:
        return "-"
    text = _number(score.value)
    if interval and score.low is not None and score.high is not None:
        text += f" [{_number(score.low)}, {_number(score.high)}]"
    return text


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def measure(
    sae: SparseAutoencoder,
    model: LanguageModel,
    store: ActivationStore,
    *,
    corpus: Corpus | None = None,
    config: MeasureConfig | None = None,
    out: Path | str | None = None,
    progress: Progress = SILENT,
) -> Scorecard:
    """Score an autoencoder, and on the same tokens mean-only, neurons, PCA, a random dictionary and an untrained one.

    A transcoder stands beside a linear map and an untrained transcoder: the others write only what they read. For a
    crosscoder all hook points are measured side by side, as harvested; they are replaced together, and each has its
    own FVU.

    Args:
        store: activations at the autoencoder's hook points; the held-out rows are measured, the others fit baselines.
        corpus: held-out text for loss and concepts. None: the held-out documents of the corpus the store was made from.
        out: folder to save the scorecard in.

    Raises:
        InputError: autoencoder, model and store do not belong together, or nothing is held out.
        CorpusError: the corpus has no usable document.
    """
    config = config or MeasureConfig()
    if not sae.reads:
        raise InputError("the autoencoder does not say where its activations are from; save it with its hook point")
    store.check_model(model)
    if sae.artifact is not None:
        store.check_same_model(sae.artifact)
    sites = choose_sites(store, sae.reads, sae.writes)
    widths = [sum(widths) for widths in sites.widths(store)]
    if widths != [sae.width, sae.output_width]:
        raise InputError(
            f"the autoencoder reads {sae.width} dimensions and writes {sae.output_width}, but {name_of(sites)} in "
            f"{store.artifact.path} has {widths[0]} and {widths[1]}; name the store that it was trained on"
        )
    context = min(int(store.artifact.config["context"]), model.max_context)
    corpus = corpus or text_of(store)
    text = HeldoutText(model, sites, Excerpts(corpus), context)
    dictionaries = {SAE: sae, **_baselines(sae, store, sites, config)}
    seed = config.seed
    heldout = min(config.tokens, int(store.heldout_T.sum()))
    with progress.task("Measuring reconstruction", total=heldout, unit="tokens") as task:
        reconstruction = score_reconstructions(dictionaries, store, sites, config.tokens, seed, task)
    with progress.task("Measuring loss", total=config.loss_tokens, unit="tokens") as task:
        means = {hook: store.statistics(hook).mean_D.float() for hook in sites.writes}
        prediction = score_predictions(dictionaries, text, means, config.loss_tokens, seed, task)
    with progress.task("Looking for concepts", total=config.concept_tokens, unit="tokens") as task:
        concepts = score_concepts(dictionaries, text, config.concept_tokens, seed, task)
    card = Scorecard(
        hook=name_of(sites),
        model=model.name,
        architecture=sae.config.architecture,
        width=sae.width,
        num_latents=sae.num_latents,
        activations=reconstruction.amount,
        predictions=prediction.amount,
        metrics={**reconstruction.metrics, **prediction.metrics},
        losses=prediction.losses,
        density=reconstruction.density,
        concepts=concepts,
    )
    if out is not None:
        made_from = [artifact for artifact in (sae.artifact, store.artifact) if artifact is not None]
        sources = {"model": model.describe(), "corpus": corpus.describe()}
        card.save(out, config=config, made_from=made_from, sources=sources)
    return card


def name_of(sites: Sites) -> str:
    """``resid_post.1``, ``mlp_in.2 → mlp_out.2``, ``resid_post.1 + resid_post.2``."""
    reads, writes = (" + ".join(map(str, hooks)) for hooks in sites)
    return reads if reads == writes else f"{reads} → {writes}"


@torch.no_grad()
def _baselines(
    sae: SparseAutoencoder, store: ActivationStore, sites: Sites, config: MeasureConfig
) -> dict[str, SparseAutoencoder]:
    """Trivial dictionaries as wide as the autoencoder, at its L0 on the sample."""
    sample = next(batches_at(store, sites, batch_tokens=config.sample_tokens, seed=config.seed, epochs=1))
    if sites.reads == sites.writes:
        l0 = len(sae.encode(sample.input_TD.to(sae.device))) / len(sample.input_TD)
        fitted = fit_all(sample.input_TD, num_latents=sae.num_latents, k=max(1, round(l0)), seed=config.seed)
    else:
        fitted = {
            "linear_map": create(linear_map.Config(), sample),
            "untrained": create(sae.config, sample, seed=derive_seed(config.seed, "untrained")),
        }
    return {name: baseline.to(sae.device) for name, baseline in fitted.items()}
