"""Every metric against a token-by-token loop in plain numpy, golden values by hand, and any split into batches.

Oracle: `ORACLES` below, written from each metric's formula without torch and without sums over batches.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.codes import SparseCodes
from lexiscope.measure import metrics
from lexiscope.measure.metric import Metric, Predictions, Reconstruction
from lexiscope.measure.metrics.firing_density import FiringDensity

NAMES = metrics.names()
TEXT_METRICS = {"kl_divergence", "loss_difference", "loss_recovered_mean_ablation", "loss_recovered_zero_ablation"}


def reconstruction(tokens=57, width=6, latents=11, seed=0) -> Reconstruction:
    draw = torch.Generator().manual_seed(seed)
    x_TD = torch.randn(tokens, width, generator=draw) + 2.0
    codes_TF = torch.randn(tokens, latents, generator=draw).relu() * (torch.arange(latents) != 3)
    codes_TF[:, 5:] *= torch.rand(tokens, latents - 5, generator=draw) < 0.05
    x_hat_TD = 0.7 * x_TD + 0.3 * torch.randn(tokens, width, generator=draw)
    return Reconstruction(x_TD, SparseCodes.from_dense(codes_TF), x_hat_TD, torch.arange(tokens) // 10)


def predictions(tokens=57, seed=0) -> Predictions:
    draw = torch.Generator().manual_seed(seed)
    clean, extra, mean, zero, kl = torch.rand(5, tokens, generator=draw)
    return Predictions(clean, clean + 0.1 * extra, clean + mean, clean + 3 * zero, kl, torch.arange(tokens) // 10)


def example(name: str) -> Reconstruction | Predictions:
    return predictions() if name in TEXT_METRICS else reconstruction()


def rows(seen, span: slice):
    """Some tokens of a batch."""
    if isinstance(seen, Predictions):
        return Predictions(*(getattr(seen, field)[span] for field in seen.__dataclass_fields__))
    codes = SparseCodes.from_dense(seen.codes.dense()[span])
    return Reconstruction(seen.x_TD[span], codes, seen.x_hat_TD[span], seen.documents_T[span])


def finish(name: str, batches) -> float:
    metric = metrics.find(name)()
    metric.start()
    for batch in batches:
        metric.add(batch)
    return metric.finish()


def _arrays(seen: Reconstruction):
    return seen.x_TD.double().numpy(), seen.x_hat_TD.double().numpy(), seen.codes.dense().numpy()


def _l0(seen):
    return np.mean([np.count_nonzero(row) for row in _arrays(seen)[2]])


def _fvu(seen):
    x, x_hat, _ = _arrays(seen)
    mean = x.mean(0)
    return sum(((a - b) ** 2).sum() for a, b in zip(x, x_hat, strict=True)) / sum(((a - mean) ** 2).sum() for a in x)


def _cosine(seen):
    x, x_hat, _ = _arrays(seen)
    return np.mean([a @ b / math.sqrt(a @ a) / math.sqrt(b @ b) for a, b in zip(x, x_hat, strict=True)])


def _mse(seen):
    x, x_hat, _ = _arrays(seen)
    return np.mean([(p - q) ** 2 for a, b in zip(x, x_hat, strict=True) for p, q in zip(a, b, strict=True)])


def _norm_ratio(seen):
    x, x_hat, _ = _arrays(seen)
    return sum(math.hypot(*b) for b in x_hat) / sum(math.hypot(*a) for a in x)


def _shrinkage_slope(seen):
    x, x_hat, _ = _arrays(seen)
    centred = (x - x.mean(0)).reshape(-1), (x_hat - x_hat.mean(0)).reshape(-1)
    return np.linalg.lstsq(centred[1][:, None], centred[0], rcond=None)[0][0]


def _firing_rates(seen):
    codes = _arrays(seen)[2]
    return [sum(value != 0 for value in latent) / len(latent) for latent in codes.T]


def _feature_sparsity_ratio(seen):
    rates = _firing_rates(seen)
    shares = [rate / sum(rates) for rate in rates if rate]
    return math.prod(share**-share for share in shares) / len(rates)


def _recovered(field):
    def oracle(seen):
        ablated, spliced, clean = (float(getattr(seen, name).mean()) for name in (field, "spliced_T", "clean_T"))
        return 1 - (spliced - clean) / (ablated - clean)

    return oracle


ORACLES = {
    "l0": _l0,
    "fvu": _fvu,
    "cosine": _cosine,
    "mse": _mse,
    "norm_ratio": _norm_ratio,
    "shrinkage_slope": _shrinkage_slope,
    "dead_fraction": lambda seen: np.mean([rate == 0 for rate in _firing_rates(seen)]),
    "dense_fraction": lambda seen: np.mean([rate > 0.1 for rate in _firing_rates(seen)]),
    "firing_density": lambda seen: np.median([math.log10(rate) for rate in _firing_rates(seen) if rate]),
    "feature_sparsity_ratio": _feature_sparsity_ratio,
    "loss_recovered_mean_ablation": _recovered("mean_ablated_T"),
    "loss_recovered_zero_ablation": _recovered("zero_ablated_T"),
    "loss_difference": lambda seen: np.mean([b - a for a, b in zip(seen.clean_T, seen.spliced_T, strict=True)]),
    "kl_divergence": lambda seen: np.mean([float(value) for value in seen.divergence_T]),
}


@pytest.mark.parametrize("name", NAMES)
def test_metric_equals_a_plain_loop(name):
    seen = example(name)
    assert finish(name, [seen]) == pytest.approx(float(ORACLES[name](seen)), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=20, derandomize=True)
@given(cuts=st.lists(st.integers(0, 57), max_size=6))
def test_batch_size_cannot_move_a_metric(name, cuts):
    seen = example(name)
    edges = [0, *sorted(cuts), 57]
    parts = [rows(seen, slice(start, end)) for start, end in itertools.pairwise(edges)]
    assert finish(name, parts) == pytest.approx(finish(name, [seen]), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_metric_is_described(name):
    """STYLE: a metric states formula, range, better direction, what is left out, and what baselines score."""
    kind = metrics.find(name)
    module = __import__(kind.__module__, fromlist=["_"])
    assert kind.name == name
    assert kind.unit
    assert kind.better in ("higher", "lower", "neither")
    for word in ("Formula:", "Range:", "Better:", "Left out:", "Baselines:", "mean-only"):
        assert word in module.__doc__, word
    for word in ("random dictionary", "untrained"):
        assert word in module.__doc__ or name in {
            "norm_ratio",
            "feature_sparsity_ratio",
            "loss_recovered_zero_ablation",
        }


@pytest.mark.parametrize("name", NAMES)
def test_nothing_seen_is_undefined(name):
    assert math.isnan(finish(name, []))


@pytest.mark.parametrize("name", NAMES)
def test_redrawing_a_document_twice_equals_measuring_it_twice(name):
    seen = example(name)
    metric: Metric = metrics.find(name)()
    metric.start()
    metric.add(seen)
    redrawn = metric.redraw(torch.tensor([[0, 2, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]]))
    if redrawn is None:
        assert name in {"dead_fraction", "dense_fraction", "firing_density", "feature_sparsity_ratio"}
        return
    twice = [rows(seen, slice(10, 20)), rows(seen, slice(10, 20)), rows(seen, slice(20, 30))]
    assert redrawn.tolist() == pytest.approx([finish(name, twice), finish(name, [seen])], rel=1e-9)


def test_golden_values():
    """Two tokens, two dimensions, by hand: x = (3,4), (1,0); x̂ = (3,0), (1,0); the mean of x is (2,2)."""
    codes = SparseCodes.from_dense(torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.5, 0.0, 0.0, 0.0]]))
    x_TD, x_hat_TD = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    seen = Reconstruction(x_TD, codes, x_hat_TD, torch.tensor([0, 1]))
    expected = {
        "l0": 1.5,
        "fvu": 16 / (5 + 5),
        "cosine": (0.6 + 1) / 2,
        "mse": 16 / 4,
        "norm_ratio": 4 / 6,
        "shrinkage_slope": 1.0,  # about the mean, x̂ = (±1, 0) and x = (±1, ±2)
        "dead_fraction": 0.5,
        "dense_fraction": 0.5,
        "firing_density": (math.log10(1) + math.log10(0.5)) / 2,
        "feature_sparsity_ratio": 3 ** (1 / 3) * 1.5 ** (2 / 3) / 4,
    }
    assert {name: finish(name, [seen]) for name in expected} == pytest.approx(expected)


def test_perfect_reconstruction_and_mean_only():
    seen = reconstruction()
    perfect = Reconstruction(seen.x_TD, seen.codes, seen.x_TD, seen.documents_T)
    mean_only = Reconstruction(seen.x_TD, seen.codes, seen.x_TD.mean(0).expand_as(seen.x_TD), seen.documents_T)
    assert finish("fvu", [perfect]) == 0
    assert finish("shrinkage_slope", [perfect]) == pytest.approx(1)
    assert finish("norm_ratio", [perfect]) == 1
    assert finish("fvu", [mean_only]) == pytest.approx(1)
    assert math.isnan(finish("shrinkage_slope", [mean_only]))


def test_zero_codes_give_zero():
    codes = SparseCodes.from_dense(torch.zeros(5, 7))
    nothing = Reconstruction(torch.ones(5, 3), codes, torch.zeros(5, 3), torch.zeros(5, dtype=torch.int64))
    assert finish("l0", [nothing]) == 0
    assert finish("cosine", [nothing]) == 0
    assert finish("norm_ratio", [nothing]) == 0
    assert finish("dead_fraction", [nothing]) == 1
    assert finish("dense_fraction", [nothing]) == 0
    assert math.isnan(finish("feature_sparsity_ratio", [nothing]))


def test_constant_activations_have_no_variance():
    """A constant far from zero leaves rounding after subtracting the mean, which must not pass for variance."""
    constant = torch.full((1000, 3), 1e4 + 0.1)
    codes = SparseCodes.from_dense(torch.zeros(1000, 2))
    seen = Reconstruction(constant, codes, constant + 1, torch.zeros(1000, dtype=torch.int64))
    assert math.isnan(finish("fvu", [seen]))


def test_density_histogram_counts_every_live_latent_once():
    """Oracle: numpy.histogram over the same edges."""
    seen = reconstruction()
    metric = FiringDensity()
    metric.start()
    metric.add(seen)
    edges, counts = metric.histogram()
    rates = [math.log10(rate) for rate in _firing_rates(seen) if rate]
    assert counts == np.histogram(rates, edges)[0].tolist()
    assert sum(counts) == len(rates)
