"""Oracle: numpy in float64 on the whole matrix."""

import numpy as np
import pytest
import torch

from lexiscope.core.errors import ArtifactError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.statistics import RunningStatistics, load_statistics, save_statistics

HOOK = HookPoint.parse("resid_post.1")


def measured(x_TD, parts=3):
    running = RunningStatistics(x_TD.shape[1])
    for part in x_TD.chunk(parts):
        running.add(part)
    return running.finish()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("parts", [1, 7])
def test_all_figures_equal_numpy_on_the_full_matrix(dtype, parts):
    x_TD = (torch.randn(5000, 24, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 25) + 3).to(dtype)
    site = measured(x_TD, parts)
    full = x_TD.double().numpy()
    norms = np.linalg.norm(full, axis=1)
    np.testing.assert_allclose(site.mean_D, full.mean(0), rtol=1e-12)
    np.testing.assert_allclose(site.std_D, full.std(0), rtol=1e-9)
    assert site.tokens == 5000
    assert site.mean_norm == pytest.approx(norms.mean(), rel=1e-12)
    assert site.max_norm == pytest.approx(norms.max(), rel=1e-12)
    assert site.rms_norm == pytest.approx(np.sqrt((norms**2).mean()), rel=1e-9)
    ratio = np.linalg.norm(full.mean(0)) / np.linalg.norm(full.std(0))
    assert site.offset_ratio == pytest.approx(ratio, rel=1e-9)


def test_a_large_offset_does_not_swallow_the_spread():
    """Mean 10,000 times the spread: float32 sums of squares would lose it altogether."""
    x_TD = torch.randn(4000, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 10_000
    site = measured(x_TD)
    np.testing.assert_allclose(site.std_D, x_TD.numpy().std(0), rtol=1e-5)


def test_planted_outlier_dimensions_are_found_largest_first():
    x_TD = torch.randn(3000, 40, generator=torch.Generator().manual_seed(0))
    x_TD[:, 5] *= 20
    x_TD[:, 31] += 50
    site = measured(x_TD)
    assert site.outlier_dims == [31, 5]
    variance = x_TD.double().numpy().var(0)
    assert site.outlier_variance_share == pytest.approx(variance[[5, 31]].sum() / variance.sum(), rel=1e-6)
    assert site.summary()["outlier_dims"] == [31, 5]


def test_constant_activations_have_no_spread_and_still_a_summary_for_json():
    site = measured(torch.full((10, 4), 2.0))
    assert site.offset_ratio == float("inf")
    assert site.summary()["offset_ratio"] is None
    assert site.outlier_variance_share == 0
    assert site.max_norm == 4


def test_saved_statistics_come_back_exactly(tmp_path):
    site = measured(torch.randn(100, 6))
    save_statistics(tmp_path / "s.safetensors", {HOOK: site})
    again = load_statistics(tmp_path / "s.safetensors", HOOK)
    assert torch.equal(again.mean_D, site.mean_D)
    assert torch.equal(again.std_D, site.std_D)
    assert again.summary() == site.summary()


def test_damaged_statistics_name_the_file(tmp_path):
    (tmp_path / "s.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ArtifactError, match=r"s\.safetensors"):
        load_statistics(tmp_path / "s.safetensors", HOOK)
