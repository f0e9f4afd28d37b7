"""ICA against sources that are known and a fit by another route: deflation, one component after another, in float64."""

import torch

from lexiscope.saes import Batch, create, ica

D = 5


def sources(tokens=6000, seed=0):
    """Independent, of variance 1, none Gaussian: sparse, uniform, two-valued and heavy-tailed."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.rand(tokens, D, generator=rng) - 0.5
    laplace = -noise[:, :2].sign() * (1 - 2 * noise[:, :2].abs()).clamp_min(1e-9).log()
    sparse = torch.randn(tokens, 1, generator=rng) * (torch.rand(tokens, 1, generator=rng) < 0.1)
    two_valued = noise[:, 3:4].sign()
    s_TD = torch.cat([laplace, sparse, two_valued, noise[:, 4:]], dim=1)
    return (s_TD - s_TD.mean(0)) / s_TD.std(0)


def mixed(seed=0):
    rng = torch.Generator().manual_seed(seed + 1)
    mixing_DD = torch.randn(D, D, generator=rng)
    return sources(seed=seed) @ mixing_DD + 3 * torch.randn(D, generator=rng), mixing_DD


def deflation(x_TD):
    """Hyvärinen's one-unit rule with the components found before projected out; rows unmix."""
    x_TD = x_TD.double() - x_TD.double().mean(0)
    values_D, vectors_DD = torch.linalg.eigh(x_TD.T @ x_TD / len(x_TD))
    whitening_DD = vectors_DD.T / values_D.sqrt()[:, None]
    y_TD = x_TD @ whitening_DD.T
    found = torch.zeros(0, x_TD.shape[1], dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    for _ in range(x_TD.shape[1]):
        w_D = torch.randn(x_TD.shape[1], generator=rng, dtype=torch.float64)
        for _ in range(500):
            bent_T = torch.tanh(y_TD @ w_D)
            w_D = (bent_T @ y_TD) / len(y_TD) - (1 - bent_T.square()).mean() * w_D
            w_D = w_D - found.T @ (found @ w_D)
            w_D = w_D / w_D.norm()
        found = torch.cat([found, w_D[None]])
    return found @ whitening_DD


def test_mixed_sources_come_apart():
    """Oracle: the mixing. Each true direction is one axis, up to sign."""
    x_TD, mixing_DD = mixed()
    sae = create(ica.Config(k=None), x_TD)
    true_DD = mixing_DD / mixing_DD.norm(dim=1, keepdim=True)
    cosines_DD = (true_DD @ sae.axes_DD.T).abs()
    assert (cosines_DD.amax(1) > 0.999).all()
    assert sorted(cosines_DD.argmax(1).tolist()) == list(range(D))


def test_components_are_those_of_the_one_by_one_rule():
    x_TD, _ = mixed(seed=3)
    sae = create(ica.Config(k=None, tolerance=1e-8), x_TD)
    theirs_DD = deflation(x_TD)
    ours, theirs = (rows / rows.norm(dim=1, keepdim=True) for rows in (sae.reads_DD.double(), theirs_DD))
    cosines_DD = (ours @ theirs.T).abs()
    assert (cosines_DD.amax(1) > 0.999).all()
    assert sorted(cosines_DD.argmax(1).tolist()) == list(range(D))


def test_all_components_lose_nothing_and_axes_come_by_size():
    x_TD, _ = mixed()
    sae = create(ica.Config(k=None), x_TD)
    torch.testing.assert_close(sae(x_TD), x_TD, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sae.axes_DD.norm(dim=1), torch.ones(D))
    spreads = ((x_TD - sae.mean_D) @ sae.reads_DD.T).std(0)
    assert (spreads.diff() <= 1e-4).all()
    assert sae.encode(x_TD).firings().sum() == len(x_TD) * D


def test_k_keeps_the_components_that_add_most():
    x_TD, _ = mixed()
    z_TD = (x_TD - x_TD.mean(0)) @ create(ica.Config(k=None), x_TD).reads_DD.T
    codes = create(ica.Config(k=2), x_TD).encode(x_TD)
    for row in range(0, len(x_TD), 500):
        latents, _ = codes.row(row)
        assert set((latents % D).tolist()) == set(z_TD[row].abs().argsort(descending=True)[:2].tolist())


def test_directions_that_never_vary_have_no_component():
    """Planted: the last coordinate is constant and the one before it repeats the first."""
    x_TD = torch.cat([mixed()[0], torch.full((6000, 1), 7.0)], dim=1)
    x_TD[:, 4] = x_TD[:, 0]
    sae = create(ica.Config(k=None), x_TD)
    assert (sae.axes_DD.norm(dim=1) > 0).tolist() == [True] * 4 + [False] * 2
    torch.testing.assert_close(sae(x_TD), x_TD, rtol=1e-3, atol=1e-3)
    assert (sae.encode(x_TD).firings()[[4, 5, 10, 11]] == 0).all()


def test_it_needs_no_luck():
    """Another seed finds the same components, perhaps in another order or sign."""
    x_TD, _ = mixed()
    first, second = (ica.Ica.from_sample(ica.Config(k=None), Batch.same(x_TD), seed=seed) for seed in (0, 5))
    assert ((first.axes_DD @ second.axes_DD.T).abs().amax(1) > 0.999).all()
