"""The stages one after another in one run folder: store, sae, scorecard, index, report."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.table import Table

from lexiscope import saes
from lexiscope.cli.inputs import identity, middle_hook
from lexiscope.cli.stage import finished
from lexiscope.core.config import Config
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import Progress
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.build import build_index
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.scorecard import MeasureConfig, Scorecard, measure
from lexiscope.saes import SparseAutoencoder
from lexiscope.saes.registry import read_config
from lexiscope.text.corpus import Corpus
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.run import train
from lexiscope.web.exports.report import write_report


class DemoSettings(Config):
    """What the demo does; sizes are chosen for a few minutes on a laptop."""

    model: str = "demo"
    corpus: str = "demo"
    hook: str | None = None
    """None: the residual stream after the middle block."""
    tokens: int = Field(800_000, ge=1)
    """Activations to harvest."""
    context: int = Field(256, ge=2)
    sae: dict[str, Any] = Field(default_factory=lambda: {"architecture": "topk", "expansion": 16, "k": 32})
    optimise: dict[str, Any] = Field(default_factory=lambda: {"tokens": 2_000_000})
    measure: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


@dataclass
class PipelineResult:
    """What was made, and what it took."""

    store: ActivationStore
    sae: SparseAutoencoder
    card: Scorecard
    seconds: dict[str, float] = field(default_factory=dict)
    """Per stage; stages that were done already took almost none."""

    def summary(self) -> dict[str, Any]:
        """The figures of the run, ready for JSON."""
        scores = self.card.summary()
        coverage = scores.pop("concept_coverage")
        if "random_dictionary" in coverage:
            coverage["random"] = coverage.pop("random_dictionary")
        return {
            "seconds": {**self.seconds, "total": sum(self.seconds.values())},
            "peak_rss_bytes": peak_rss_bytes(),
            "tokens": self.store.num_tokens,
            "L0": scores.pop("l0"),
            **scores,
            "concept_coverage": coverage,
        }

    def table(self) -> Table:
        """Seconds per stage."""
        table = Table(caption=f"{peak_rss_bytes() / 1e9:.1f} GB of memory", caption_justify="right")
        table.add_column("stage")
        table.add_column("seconds", justify="right")
        for name, seconds in self.seconds.items():
            table.add_row(name, f"{seconds:.1f}")
        table.add_row("total", f"{sum(self.seconds.values()):.1f}", style="bold")
        return table


def run_pipeline(asked: DemoSettings, out: Path, progress: Progress) -> PipelineResult:
    """Every stage that is not done yet."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[stage] = round(time.perf_counter() - began, 2)

    with timed("load"):
        model = LanguageModel(asked.model)
        hook = str(HookPoint.parse(asked.hook or middle_hook(model)))
        sae_config = read_config(asked.sae, "sae")
        measure_config = MeasureConfig.read({"seed": asked.seed, **asked.measure}, "measure")
        train_config = TrainConfig.read({"seed": asked.seed, **asked.optimise}, "optimise")
        corpus = Corpus(asked.corpus, seed=asked.seed)
    with timed("harvest"):
        context = min(asked.context, model.max_context)
        wanted = {"hooks": [hook], "tokens": asked.tokens, "context": context}
        if not finished(out / "store", "store", wanted, sources=identity(model, corpus)):
            harvest(
                model,
                corpus,
                [hook],
                out=out / "store",
                tokens=asked.tokens,
                context=context,
                seed=asked.seed,
                progress=progress,
            )
        store = ActivationStore.open(out / "store")
    with timed("train"):
        resolved, _ = resolve(train_config, sae_config, store.width(hook))
        trained = {"sae": sae_config.model_dump(mode="json"), "train": resolved.model_dump(mode="json")}
        if not finished(out / "sae", "sae", trained, [store.artifact]):
            train(store, sae_config, train_config, out=out / "sae", progress=progress)
        sae = saes.load(out / "sae")
        assert sae.artifact is not None
    with timed("measure"):
        measured = measure_config.model_dump(mode="json")
        if not finished(out / "scorecard", "scorecard", measured, [store.artifact, sae.artifact]):
            measure(sae, model, store, config=measure_config, out=out / "scorecard", progress=progress)
        card = Scorecard.open(out / "scorecard")
    with timed("index"):
        if not finished(out / "index", "index", {}, [store.artifact, sae.artifact]):
            build_index(sae, model, store, out=out / "index", progress=progress)
    with timed("report"):
        write_report(out)
    return PipelineResult(store, sae, card, seconds)


def peak_rss_bytes() -> int:
    """Most memory that this process held at once."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
