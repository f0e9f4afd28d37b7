"""Scorecards of what does not write what it reads, or reads several hook points, on a tiny model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.harvest import harvest
from lexiscope.measure.heldout import heldout_rows
from lexiscope.measure.metrics import names
from lexiscope.measure.scorecard import MeasureConfig, measure
from lexiscope.saes import Batch, create, crosscoder, topk, transcoder
from lexiscope.saes.baselines import fit_neurons, linear_map
from lexiscope.text.corpus import Corpus
from lexiscope.train.source import Sites, batches_at

IN, OUT, BEFORE, AFTER = map(HookPoint.parse, ("mlp_in.1", "mlp_out.1", "resid_pre.1", "resid_post.1"))
CONFIG = MeasureConfig(tokens=1000, loss_tokens=300, concept_tokens=2000, sample_tokens=2000)


@pytest.fixture(scope="module")
def wide(model, source, tmp_path_factory):
    """A store with every hook point of one block."""
    out = tmp_path_factory.mktemp("wide") / "store"
    hooks = [IN, OUT, BEFORE, AFTER]
    return harvest(model, Corpus(source), hooks, out=out, tokens=8_000, context=32, batch=16, dtype="float32")


@pytest.fixture(scope="module")
def corpus(source):
    return Corpus(source, split="all")


def place(sae, sites):
    sae.reads, sae.writes = sites
    return sae


def sample(store, sites):
    return next(batches_at(store, sites, batch_tokens=2000, seed=3, epochs=1))


def test_a_transcoder_is_compared_with_what_it_should_write(model, wide, corpus):
    """Oracle: numpy over all held-out rows of both hook points. The linear map is the one that an MLP is not."""
    sites = Sites((IN,), (OUT,))
    sae = place(create(transcoder.Config(num_latents=40, skip=True), sample(wide, sites)), sites)
    with torch.no_grad():
        sae.W_skip_ED.normal_(generator=torch.Generator().manual_seed(0))
    card = measure(sae, model, wide, corpus=corpus, config=CONFIG)
    rows = heldout_rows(wide, CONFIG.tokens, CONFIG.seed).rows_T
    y_TD = wide.rows(OUT, rows).double().numpy()
    with torch.no_grad():
        y_hat_TD = sae(wide.rows(IN, rows)).double().numpy()
    assert card.value("fvu") == pytest.approx(np.square(y_TD - y_hat_TD).sum() / np.square(y_TD - y_TD.mean(0)).sum())
    assert card.hook == "mlp_in.1 → mlp_out.1"
    assert card.columns == ["sae", "linear_map", "untrained"]
    assert set(card.metrics) == set(names())
    assert 0 < card.value("fvu", "linear_map") < 1
    assert set(card.concepts.coverage) == {"sae", "untrained"}


def test_a_transcoder_that_is_right_loses_nothing(model, wide, corpus, monkeypatch):
    """Planted: the MLP itself in the place of the transcoder, which knows what it reads and not what it replaces."""
    sites = Sites((IN,), (OUT,))
    sae = place(create(transcoder.Config(num_latents=40), sample(wide, sites)), sites)
    mlp = model.module.transformer.h[1].mlp
    monkeypatch.setattr(type(sae), "reconstruct", lambda _, x_TD, codes: mlp(x_TD).detach())
    card = measure(sae, model, wide, corpus=corpus, config=CONFIG)
    assert card.value("fvu") == pytest.approx(0, abs=1e-6)
    assert card.value("loss_difference") == pytest.approx(0, abs=1e-4)
    assert card.value("loss_recovered_zero_ablation") == pytest.approx(1, abs=1e-3)
    assert abs(card.value("loss_difference", "linear_map")) > 1e-3


def test_a_crosscoder_is_measured_at_every_hook_point(model, wide, corpus):
    """Oracle: numpy at each. Neurons of all hook points side by side lose nothing wherever they are put back."""
    sites = Sites((BEFORE, AFTER), (BEFORE, AFTER))
    config = crosscoder.Config(num_latents=40, site_widths=(24, 24), activation={"name": "topk", "k": 4})
    sae = place(create(config, sample(wide, sites)), sites)
    card = measure(sae, model, wide, corpus=corpus, config=CONFIG)
    rows = heldout_rows(wide, CONFIG.tokens, CONFIG.seed).rows_T
    x_TD = torch.cat([wide.rows(hook, rows) for hook in sites.reads], 1)
    with torch.no_grad():
        error_TD = (x_TD - sae(x_TD)).double()
    for hook, part in ((BEFORE, slice(0, 24)), (AFTER, slice(24, 48))):
        variance = (x_TD[:, part] - x_TD[:, part].mean(0)).double().square().sum()
        assert card.value(f"fvu at {hook}") == pytest.approx((error_TD[:, part].square().sum() / variance).item())
    assert card.hook == "resid_pre.1 + resid_post.1"
    assert card.value("l0", "neurons") == pytest.approx(48)
    assert card.value("loss_difference", "neurons") == pytest.approx(0, abs=1e-4)
    assert card.value("loss_recovered_mean_ablation") < 1
    assert "fvu at resid_post.1" in str(card)


def test_a_store_without_one_of_the_hook_points_is_refused(model, store):
    sites = Sites((IN,), (OUT,))
    sae = place(create(transcoder.Config(num_latents=9), Batch(torch.randn(50, 24), torch.randn(50, 24))), sites)
    with pytest.raises(InputError, match="holds resid_post.1, not mlp_in.1; harvest mlp_in.1"):
        measure(sae, model, store)


def test_linear_map_is_least_squares(rng):
    """Oracle: torch.linalg.lstsq on inputs with a column of ones."""
    x_TD = torch.randn(300, 6, generator=rng) @ torch.randn(6, 6, generator=rng) + 3
    y_TE = torch.randn(300, 4, generator=rng) + x_TD[:, :4]
    ours = create(linear_map.Config(ridge=0), Batch(x_TD, y_TE))(x_TD)
    with_one = torch.cat([x_TD, torch.ones(300, 1)], 1).double()
    torch.testing.assert_close(ours, (with_one @ torch.linalg.lstsq(with_one, y_TE.double()).solution).float())
    flat = create(linear_map.Config(), Batch(torch.ones(20, 3), torch.ones(20, 2)))
    torch.testing.assert_close(flat(torch.ones(5, 3)), torch.ones(5, 2))


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def test_what_writes_elsewhere_is_not_taken_for_an_autoencoder(model, wide):
    """A plain autoencoder that says it writes another hook point of another width."""
    sae = place(create(topk.Config(num_latents=9), torch.randn(50, 7)), Sites((IN,), (OUT,)))
    with pytest.raises(
        InputError, match="reads 7 dimensions and writes 7, but mlp_in.1 → mlp_out.1 in .* has 24 and 24"
    ):
        measure(sae, model, wide)
    assert fit_neurons(torch.randn(50, 7)).reads == ()
