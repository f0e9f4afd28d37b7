"""The whole scorecard on a tiny model: columns that are known beforehand, independence of batches, saving, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.measure import passes
from lexiscope.measure.heldout import EXCERPT_CHARACTERS, Excerpts, heldout_rows
from lexiscope.measure.metrics import names
from lexiscope.measure.scorecard import FILE, MeasureConfig, Scorecard, measure
from lexiscope.saes import create, topk
from lexiscope.text.corpus import Corpus

HOOK = HookPoint.parse("resid_post.1")
CONFIG = MeasureConfig(tokens=1500, loss_tokens=300, concept_tokens=8000, sample_tokens=2000)


@pytest.fixture(scope="module")
def sae(store):
    sample_TD = next(store.batches(HOOK, batch_tokens=2000, seed=3, split="train", epochs=1))
    made = create(topk.Config(num_latents=40, k=4), sample_TD, seed=5)
    made.hook = HOOK
    return made


@pytest.fixture(scope="module")
def corpus(source):
    return Corpus(source, split="all")


@pytest.fixture(scope="module")
def card(sae, model, store, corpus):
    return measure(sae, model, store, corpus=corpus, config=CONFIG)


def test_every_metric_has_every_column(card):
    assert set(card.metrics) == set(names())
    assert card.columns == ["sae", "mean_only", "neurons", "pca", "random_dictionary", "untrained"]
    for scores in card.metrics.values():
        assert list(scores.scores) == card.columns
        for score in scores.scores.values():
            assert score.low is None or score.low <= score.high


def test_columns_that_are_known_beforehand(card):
    assert card.value("fvu", "mean_only") == pytest.approx(1, abs=0.02)
    assert card.value("fvu", "neurons") == pytest.approx(0, abs=1e-10)
    assert card.value("loss_difference", "neurons") == pytest.approx(0, abs=1e-4)
    assert card.value("loss_recovered_zero_ablation", "neurons") == pytest.approx(1, abs=1e-3)
    assert card.value("l0", "mean_only") == 0
    assert card.value("l0", "neurons") == pytest.approx(24)
    assert card.value("l0") == pytest.approx(4, abs=0.1)
    assert card.value("l0", "pca") == pytest.approx(4)
    assert card.value("dead_fraction", "mean_only") == 1
    assert card.value("shrinkage_slope", "mean_only") is None
    assert 0 < card.value("fvu", "pca") < 1


def test_numbers_equal_a_loop_over_the_heldout_rows(card, sae, store):
    """Oracle: numpy over all chosen rows at once."""
    rows = heldout_rows(store, CONFIG.tokens, CONFIG.seed)
    assert card.activations.tokens == len(rows.rows_T)
    x_TD = store.rows(HOOK, rows.rows_T)
    with torch.no_grad():
        codes = sae.encode(x_TD)
        x, x_hat = x_TD.double().numpy(), sae.decode(codes).double().numpy()
    assert card.value("fvu") == pytest.approx(((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
    assert card.value("l0") == pytest.approx((codes.dense() != 0).sum(1).double().mean().item())
    assert sum(card.density.counts) == int((codes.firings() > 0).sum())


def test_heldout_rows_are_held_out_whole_documents(store):
    rows = heldout_rows(store, 200, 0)
    assert store.heldout_T[rows.rows_T].all()
    assert (np.diff(rows.rows_T) > 0).all()
    documents = store.documents_T[rows.rows_T]
    assert len(np.unique(documents)) == rows.documents_T.max() + 1
    cut = [item for item in np.unique(documents) if (documents == item).sum() != (store.documents_T == item).sum()]
    assert len(cut) <= 1
    assert len(rows.rows_T) == 200


@pytest.mark.parametrize("size", [7, 100_000])
def test_batch_size_moves_nothing(sae, model, store, corpus, card, monkeypatch, size):
    monkeypatch.setattr(passes, "BATCH_TOKENS", size)
    again = measure(sae, model, store, corpus=corpus, config=CONFIG)
    for name in names():
        for column in card.columns:
            expected, got = card.value(name, column), again.value(name, column)
            assert (got is None) == (expected is None)
            assert got == expected or got == pytest.approx(expected, rel=1e-5, abs=1e-9), (name, column)


def test_concepts_are_counted_and_split(card):
    report = card.concepts
    judged = [count for count in report.concepts if count.judged]
    assert report.judged == len(judged) > 10
    assert all(min(count.positives_chosen_on, count.positives_scored_on) >= report.min_positives for count in judged)
    assert set(report.coverage) == set(card.columns) - {"mean_only"}
    for coverage in report.coverage.values():
        assert len(coverage.latents) == len(judged)
        assert coverage.share == np.mean([latent.f1 >= report.f1_bar for latent in coverage.latents])
        assert coverage.low <= coverage.share <= coverage.high
        assert coverage.chance_mean_f1 < coverage.mean_f1


def test_excerpts_are_short_and_different(corpus):
    held = Excerpts(corpus)
    given = list(held.documents(100))
    assert all(0 < len(document.text) <= 100 for document in given)
    wholes = {document.id: document.text for document in corpus.documents()}
    assert all(wholes[document.id].startswith(document.text) for document in given)
    assert list(held.documents(100)) == given
    again = [document.text for document in held.documents()]
    assert len(set(again)) == len(again) == len({text[:EXCERPT_CHARACTERS] for text in wholes.values()})


def test_table_names_every_metric(card):
    table = str(card)
    for row in card.rows():
        assert row.name in table
    assert card.summary().keys() == {
        "l0",
        "fvu",
        "loss_recovered_mean_ablation",
        "dead_fraction",
        "concept_coverage",
    }
    json.dumps(card.summary(), allow_nan=False)


def test_saved_scorecard_reads_back(card, sae, model, store, corpus, tmp_path):
    made = measure(sae, model, store, corpus=corpus, config=CONFIG, out=tmp_path / "scorecard")
    assert made == card  # measuring again gives the same numbers
    assert Scorecard.open(tmp_path / "scorecard") == made
    (tmp_path / "scorecard" / FILE).write_text("{}")
    with pytest.raises(ArtifactError):
        Scorecard.open(tmp_path / "scorecard")


def test_what_does_not_belong_together_is_refused(sae, model, store):
    sample_TD = torch.randn(50, 7)
    narrow = create(topk.Config(num_latents=9, k=2), sample_TD)
    narrow.hook = HOOK
    with pytest.raises(InputError, match="reads 7 dimensions"):
        measure(narrow, model, store)
    narrow.hook = None
    with pytest.raises(InputError, match="does not say where"):
        measure(narrow, model, store)
    narrow.hook = HookPoint.parse("resid_post.0")
    with pytest.raises(InputError, match="holds resid_post.1"):
        measure(narrow, model, store)
