"""Baselines against what linear algebra says they must do."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, architectures, baselines, create, pca


def fvu(x_TD, output_TD):
    return ((x_TD - output_TD).square().sum() / (x_TD - x_TD.mean(0)).square().sum()).item()


def test_mean_only_never_fires_and_has_fvu_one(sample_TD):
    sae = baselines.fit_mean_only(sample_TD)
    assert len(sae.encode(sample_TD)) == 0
    assert abs(fvu(sample_TD, sae(sample_TD)) - 1) < 1e-6


def test_neurons_are_the_parts_of_centred_coordinates_and_lose_nothing(sample_TD):
    sae = baselines.fit_neurons(sample_TD)
    centred_TD = sample_TD - sample_TD.mean(0)
    expected_TF = torch.cat([centred_TD.clamp_min(0), (-centred_TD).clamp_min(0)], dim=1)
    torch.testing.assert_close(sae.encode(sample_TD).dense(), expected_TF)
    torch.testing.assert_close(sae(sample_TD), sample_TD)


def test_neurons_with_k_keep_the_largest_coordinates(sample_TD):
    codes = baselines.fit_neurons(sample_TD, k=3).encode(sample_TD)
    for x_D, row in zip(sample_TD - sample_TD.mean(0), range(len(sample_TD)), strict=True):
        latents, values = codes.row(row)
        assert set((latents % 12).tolist()) == set(x_D.abs().argsort(descending=True)[:3].tolist())
        assert (values > 0).all()


def test_pca_axes_are_singular_vectors_in_order(sample_TD):
    """Oracle: the singular value decomposition of the centred sample; signs are free."""
    sae = baselines.fit_pca(sample_TD, k=None)
    expected_DD = torch.linalg.svd((sample_TD - sample_TD.mean(0)).double(), full_matrices=False).Vh
    alignment_D = (sae.axes_DD.double() * expected_DD).sum(1).abs()
    torch.testing.assert_close(alignment_D, torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(sae(sample_TD), sample_TD)


def test_pca_at_equal_l0_keeps_the_k_largest_and_beats_the_first_k_axes(sample_TD):
    sae = baselines.fit_pca(sample_TD, k=4)
    assert sae.encode(sample_TD).counts().tolist() == [4] * len(sample_TD)
    centred_TD = sample_TD - sample_TD.mean(0)
    first_TD = centred_TD @ sae.axes_DD[:4].T @ sae.axes_DD[:4] + sample_TD.mean(0)
    assert fvu(sample_TD, sae(sample_TD)) < fvu(sample_TD, first_TD)


def test_the_gain_of_a_random_dictionary_is_the_best_one(sample_TD):
    """Oracle: no other gain on a grid reconstructs the sample better."""
    sae = baselines.fit_random_dictionary(sample_TD, num_latents=96, k=8)
    best, best_fvu = sae.gain.item(), fvu(sample_TD, sae(sample_TD))
    for gain in torch.linspace(0.5, 1.5, 11) * best:
        sae.gain.fill_(gain)
        assert fvu(sample_TD, sae(sample_TD)) >= best_fvu - 1e-6
    assert best_fvu < 1


@pytest.mark.parametrize("name", ["topk", "batch_topk", "relu_l1", "transcoder"])
def test_untrained_is_any_architecture_before_its_first_step(name, sample_TD):
    config = architectures()[name].Config(num_latents=24)
    sample = Batch(sample_TD, sample_TD[:, :7] ** 2) if name == "transcoder" else Batch.same(sample_TD)
    sae, expected = baselines.fit_untrained(sample, config, seed=2), create(config, sample, seed=2)
    assert not sae.training
    assert all(torch.equal(a, b) for a, b in zip(sae.parameters(), expected.parameters(), strict=True))


def test_a_baseline_of_a_transcoder_is_refused(sample_TD):
    with pytest.raises(InputError, match="pca writes what it reads; a transcoder has no such baseline"):
        create(pca.Config(), Batch(sample_TD, sample_TD * 2))


def test_fit_all_gives_each_one_at_the_l0_asked_for(sample_TD):
    saes = baselines.fit_all(sample_TD, num_latents=48, k=3)
    l0 = {name: sae.encode(sample_TD).counts().float().mean().item() for name, sae in saes.items()}
    assert l0 == {"mean_only": 0, "neurons": 12, "pca": 3, "random_dictionary": 3, "untrained": 3}
