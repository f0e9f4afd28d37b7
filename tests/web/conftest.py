from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from tests.lm.conftest import tiny, tiny_folder  # noqa: F401

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.index.build import build_index
from lexiscope.measure.concepts.report import BestLatent, ConceptCount, ConceptReport, Coverage
from lexiscope.measure.scorecard import MeasureConfig, Scorecard
from lexiscope.measure.scores import Amount, Histogram, Losses, MetricScores, Score
from lexiscope.web.app import create_app

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-quic"
).split()
PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"


def _load_world() -> ModuleType:
    """The synthetic world of the index tests."""
    spec = importlib.util.spec_from_file_location("index_world", Path(__file__).parents[1] / "index" / "world.py")
    assert spec
    assert spec.loader
    module = sys.modules["index_world"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worlds = sys.modules.get("index_world") or _load_world()

from .steering_world import ask, real  # noqa: E402, F401 - it needs the world


def _scorecard() -> Scorecard:
    columns = ("sae", "mean_only", "random_dictionary", "untrained", "pca", "neurons")
    numbers = {
        "l0": ("latents per token", "neither", (2.3, 0, 2.3, 2.3, 2, 42)),
        "fvu": ("fraction of variance", "lower", (0.182, 1.0, 0.93, 0.951, 0.44, 0.0)),
        "loss_recovered_mean_ablation": ("fraction", "higher", (0.957, 0.0, 0.081, 0.064, 0.62, 1.0)),
        "dead_fraction": ("share of latents", "lower", (0.024, None, 0.0, 0.31, 0.0, 0.0)),
        "cosine": ("cosine", "higher", (0.91, 0.33, 0.4, 0.38, 0.72, 1.0)),
        "kl_divergence": ("nats", "lower", (0.071, 1.92, 1.7, 1.74, 0.55, 0.0)),
        "dense_fraction": ("share of latents", "neither", (0.048, None, 0.0, 0.11, 0.9, 1.0)),
    }
    metrics = {
        name: MetricScores(
            unit=unit,
            better=better,
            scores={
                column: Score(value=value, low=value * 0.97 if value else None, high=value * 1.03 if value else None)
                for column, value in zip(columns, values, strict=True)
            },
        )
        for name, (unit, better, values) in numbers.items()
    }
    names = [name for name, _ in worlds.PREDICATES]
    best = [
        BestLatent(
            concept=concept,
            latent=names.index(latent),
            threshold=0.5,
            f1_chosen=0.99,
            f1=f1,
            average_precision=0.97,
            chance_f1=0.04,
        )
        for concept, latent, f1 in (
            ("def head", "def", 0.98),
            ("person's name", "a name", 0.91),
            ("opening parenthesis", "opening parenthesis", 1.0),
        )
    ]
    coverage = {
        column: Coverage(
            share=share,
            low=share * 0.8,
            high=min(1, share * 1.2),
            mean_f1=share,
            mean_average_precision=share,
            chance_share=0,
            chance_mean_f1=0.05,
            latents=best if column == "sae" else [],
        )
        for column, share in zip(columns, (0.61, 0.0, 0.08, 0.11, 0.17, 0.14), strict=True)
        if column != "mean_only"
    }
    counts = [
        ConceptCount(
            name=item.concept,
            definition=f"Where {item.concept} is.",
            kinds=["code"],
            judged=True,
            positives_chosen_on=90,
            positives_scored_on=80,
            tokens_chosen_on=4000,
            tokens_scored_on=4000,
        )
        for item in best
    ]
    concepts = ConceptReport(
        f1_bar=0.8,
        min_positives=20,
        documents_chosen_on=20,
        documents_scored_on=20,
        judged=3,
        concepts=counts,
        coverage=coverage,
    )
    return Scorecard(
        hook="resid_post.2",
        model="words",
        architecture="topk",
        width=42,
        num_latents=42,
        activations=Amount(tokens=20_480, documents=80),
        predictions=Amount(tokens=8_192, documents=60),
        metrics=metrics,
        losses=Losses(clean=2.9, mean_ablation=5.1, zero_ablation=6.3),
        density=Histogram(edges=[-4, -3, -2], counts=[3, 4]),
        concepts=concepts,
    )


@pytest.fixture(scope="session")
def world():
    return worlds.World()


@pytest.fixture(scope="session")
def root(world, tmp_path_factory) -> Path:
    """A folder with one whole run in it, "demo"."""
    root = tmp_path_factory.mktemp("runs")
    store = worlds.Store(world, root / "demo" / "store")
    sae = worlds.Dictionary()
    with write_artifact(root / "demo" / "sae", "sae", config={"sae": {"architecture": "topk"}}) as draft:
        (draft.path / "sae.safetensors").write_bytes(b"weights")
    sae.artifact = open_artifact(root / "demo" / "sae", "sae")
    _scorecard().save(root / "demo" / "scorecard", made_from=[sae.artifact], sources={}, config=MeasureConfig())
    build_index(sae, worlds.Model(world), store, out=root / "demo" / "index")
    return root


@pytest.fixture(scope="session")
def give_model(world, root) -> Callable[[FastAPI], None]:
    """Puts the world's model into the place of a real one."""

    def give(app: FastAPI) -> None:
        sae = worlds.Dictionary()
        sae.artifact = open_artifact(root / "demo" / "sae", "sae")
        app.state.library.dictionary("demo").reader.__dict__["_parts"] = (worlds.Model(world), sae)

    return give


@pytest.fixture
def app(root, give_model):
    """The app, with the world's model."""
    app = create_app(root, port=PORT)
    give_model(app)
    return app


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM} (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield found
        found.close()
