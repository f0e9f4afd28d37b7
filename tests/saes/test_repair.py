"""Repair of dictionaries in which duplicates and shrinkage were planted; dense linear algebra is the oracle."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, create, gated, jumprelu, relu_l1, topk
from lexiscope.saes.repair import Pair, find_duplicates, groups_of, merge_duplicates, undo_shrinkage

D, F = 16, 24


@pytest.fixture
def world():
    """Activations of known directions, at right angles to each other, and a dictionary that holds exactly them."""
    rng = torch.Generator().manual_seed(0)
    axes_DD = torch.linalg.qr(torch.randn(D, D, generator=rng)).Q
    fires = torch.rand(800, D, generator=rng) < 0.2
    codes_TD = fires * (1 + torch.rand(800, D, generator=rng))
    return axes_DD, codes_TD, codes_TD @ axes_DD


def perfect(world, config=None):
    """Latents 0..15 are the directions; 16..23 are empty."""
    axes_DD, _, x_TD = world
    sae = create(config or relu_l1.Config(num_latents=F), x_TD)
    with torch.no_grad():
        for weights in (sae.W_dec_FD, sae.W_enc_FD, sae.b_enc_F, sae.b_dec_D):
            weights.zero_()
        sae.W_dec_FD[:D] = axes_DD
        sae.W_enc_FD[:D] = axes_DD
        sae.b_enc_F[:D] = -1e-3  # below zero where a feature is absent
    return sae


def split(sae, latent, into, shares):
    """Several latents of the same direction, which together give what one gave."""
    with torch.no_grad():
        row, bias, direction = sae.W_enc_FD[latent].clone(), sae.b_enc_F[latent].clone(), sae.W_dec_FD[latent].clone()
        for copy, share in zip([latent, *into], shares, strict=True):
            sae.W_enc_FD[copy], sae.b_enc_F[copy], sae.W_dec_FD[copy] = share * row, share * bias, direction


def fvu(x_TD, output_TD):
    return ((x_TD - output_TD).square().sum() / (x_TD - x_TD.mean(0)).square().sum()).item()


def test_duplicates_are_found_and_nothing_else(world):
    sae = perfect(world)
    split(sae, 3, [16], [0.6, 0.4])
    split(sae, 7, [17, 18], [0.5, 0.3, 0.2])
    pairs = find_duplicates(sae, world[2])
    assert {(pair.first, pair.second) for pair in pairs} == {(3, 16), (7, 17), (7, 18), (17, 18)}
    assert all(pair.cosine > 0.999 and pair.overlap == 1 for pair in pairs)
    assert groups_of(pairs) == [[3, 16], [7, 17, 18]]


def test_pairs_are_those_of_all_cosines_and_all_counts(rng):
    """Oracle: every pair, with sets of tokens."""
    x_TD = torch.randn(300, D, generator=rng)
    sae = create(topk.Config(num_latents=60, k=6), x_TD)
    found = find_duplicates(sae, x_TD, cosine=0.3, overlap=0.1)
    fired = sae.encode(x_TD).dense() > 0
    unit = torch.nn.functional.normalize(sae.W_dec_FD, dim=1)
    expected = {}
    for i in range(60):
        for j in range(i + 1, 60):
            either = (fired[:, i] | fired[:, j]).sum().item()
            overlap = (fired[:, i] & fired[:, j]).sum().item() / either if either else 0
            if unit[i] @ unit[j] >= 0.3 and overlap >= 0.1:
                expected[i, j] = ((unit[i] @ unit[j]).item(), overlap)
    assert {(pair.first, pair.second) for pair in found} == set(expected)
    assert len(expected) > 3
    for pair in found:
        assert (pair.cosine, pair.overlap) == pytest.approx(expected[pair.first, pair.second], rel=1e-5)
    assert [pair.cosine for pair in found] == sorted((pair.cosine for pair in found), reverse=True)


def test_the_same_direction_on_other_tokens_is_no_duplicate(world):
    """Planted: a copy that fires only where another feature does too, which the first does not."""
    axes_DD, _, x_TD = world
    sae = perfect(world)
    with torch.no_grad():
        sae.W_dec_FD[16] = axes_DD[3]
        sae.W_enc_FD[16], sae.b_enc_F[16] = axes_DD[5], -1.0
    assert find_duplicates(sae, x_TD) == []


def test_merging_planted_copies_changes_nothing_but_their_number(world):
    """Oracle: the dictionary before it was split."""
    sae, whole = perfect(world), perfect(world)
    split(sae, 3, [16], [0.4, 0.6])
    split(sae, 7, [17, 18], [0.5, 0.3, 0.2])
    x_TD = world[2]
    torch.testing.assert_close(sae(x_TD), whole(x_TD))
    assert merge_duplicates(sae, x_TD) == {3: [16], 7: [17, 18]}
    torch.testing.assert_close(sae(x_TD), whole(x_TD))
    torch.testing.assert_close(sae.encode(x_TD).dense(), whole.encode(x_TD).dense())
    assert (sae.encode(x_TD).firings()[16:19] == 0).all()
    assert merge_duplicates(sae, x_TD) == {}


def test_topk_wins_back_the_places_that_duplicates_took(world):
    """Three copies of one feature take three of four places of a token."""
    x_TD = world[2]
    sae = perfect(world, topk.Config(num_latents=F, k=4))
    split(sae, 0, [16, 17], [1 / 3, 1 / 3, 1 / 3])
    before = fvu(x_TD, sae(x_TD))
    merge_duplicates(sae, x_TD)
    assert fvu(x_TD, sae(x_TD)) < 0.9 * before


def test_nearly_equal_directions_become_the_one_between_them(world, rng):
    axes_DD, _, x_TD = world
    sae = perfect(world)
    split(sae, 3, [16], [0.5, 0.5])
    with torch.no_grad():
        sae.W_dec_FD[16] = torch.nn.functional.normalize(axes_DD[3] + 0.3 * axes_DD[9], dim=0)
        sae.W_dec_FD[3] = torch.nn.functional.normalize(axes_DD[3] - 0.3 * axes_DD[9], dim=0)
    before = fvu(x_TD, sae(x_TD))
    ((stays, freed),) = merge_duplicates(sae, x_TD, cosine=0.8).items()
    assert sorted([stays, *freed]) == [3, 16]
    assert sae.W_dec_FD[stays] @ axes_DD[3] > 0.999
    torch.testing.assert_close(sae.W_dec_FD[stays].norm(), torch.tensor(1.0))
    assert fvu(x_TD, sae(x_TD)) < before + 1e-3


def test_thresholds_add_up(world):
    sae = perfect(world, jumprelu.Config(num_latents=F))
    with torch.no_grad():
        sae.activation.threshold_F.fill_(0.5)
    whole_TD = sae(world[2])
    split(sae, 3, [16], [0.5, 0.5])
    with torch.no_grad():
        sae.activation.threshold_F[[3, 16]] = 0.25
    torch.testing.assert_close(sae(world[2]), whole_TD)
    assert merge_duplicates(sae, world[2]) == {3: [16]}
    torch.testing.assert_close(sae(world[2]), whole_TD)
    assert sae.activation.threshold_F[3].item() == pytest.approx(0.5)


def test_weights_that_do_not_add_up_are_refused(world):
    sae = perfect(world, gated.Config(num_latents=F))
    with pytest.raises(InputError, match="duplicates of gated can't be merged: latents have weights, b_mag_F, r_mag_F"):
        merge_duplicates(sae, world[2])


def test_groups_join_through_a_third():
    pairs = [Pair(1, 2, 0.9, 1), Pair(5, 6, 0.9, 1), Pair(2, 9, 0.9, 1), Pair(6, 9, 0.9, 1), Pair(3, 4, 0.9, 1)]
    assert groups_of(pairs) == [[1, 2, 5, 6, 9], [3, 4]]


def shrunken(world, shares_F):
    sae = perfect(world)
    with torch.no_grad():
        sae.W_enc_FD.mul_(shares_F[:, None])
        sae.b_enc_F.mul_(shares_F)
    return sae


def test_a_planted_shrinkage_is_measured_and_undone(world):
    sae = shrunken(world, torch.full((F,), 0.8))
    done = undo_shrinkage(sae, world[2])
    assert done.slope == pytest.approx(1 / 0.8, rel=1e-2)
    assert done.fvu_before == pytest.approx(fvu(world[2][400:], 0.8 * (world[2][400:])), rel=0.05)
    assert done.fvu_after < 0.01 * done.fvu_before
    assert fvu(world[2], sae(world[2])) < 1e-4


def test_each_latent_by_its_own_measure(world):
    shares_F = torch.linspace(0.5, 1.0, F)
    sae = shrunken(world, shares_F)
    done = undo_shrinkage(sae, world[2])
    assert done.per == "latent"
    torch.testing.assert_close(done.factors_F[:D], 1 / shares_F[:D], rtol=1e-2, atol=1e-2)
    assert done.factors_F[D:].tolist() == [1.0] * (F - D)
    assert fvu(world[2], sae(world[2])) < 1e-4


def test_factors_solve_the_normal_equations(rng):
    """Oracle: the dense system, for an overcomplete dictionary whose latents overlap."""
    x_TD = torch.randn(600, D, generator=rng) * torch.linspace(0.5, 3, D)
    sae = create(topk.Config(num_latents=F, k=5), x_TD)
    row_FD = sae.W_dec_FD.detach().double().clone()
    codes_TF = sae.encode(x_TD[:300]).dense().detach().double()
    rest_TD = (x_TD[:300] - sae.b_dec_D).detach().double()
    system_FF = (row_FD @ row_FD.T) * (codes_TF.T @ codes_TF)
    right_F = (codes_TF * (rest_TD @ row_FD.T)).sum(0)
    expected_F = torch.linalg.solve(system_FF, right_F)
    done = undo_shrinkage(sae, x_TD, min_firings=1)
    given_TD = codes_TF @ row_FD
    assert done.slope == pytest.approx(float((rest_TD * given_TD).sum() / given_TD.square().sum()), rel=1e-5)
    assert done.per == "latent"
    torch.testing.assert_close(done.factors_F.double(), expected_F, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sae.W_dec_FD.detach().double(), row_FD * expected_F[:, None], rtol=1e-4, atol=1e-4)


def test_codes_stay_as_they_are(world):
    sae = shrunken(world, torch.linspace(0.5, 1.0, F))
    before = sae.encode(world[2])
    undo_shrinkage(sae, world[2])
    after = sae.encode(world[2])
    assert torch.equal(before.latents, after.latents)
    assert torch.equal(before.values, after.values)


def test_what_would_not_help_is_not_done(world):
    """Planted: nothing is wrong, and the half that is judged says so."""
    sae = perfect(world)
    before = sae.W_dec_FD.clone()
    x_TD = world[2] + 0.5 * torch.randn(world[2].shape, generator=torch.Generator().manual_seed(5))
    x_TD[400:] = 0.7 * x_TD[400:].flip(0)  # the halves disagree about every factor
    done = undo_shrinkage(sae, Batch.same(x_TD), min_firings=1)
    assert done.fvu_after <= done.fvu_before
    if done.per == "nothing":
        assert torch.equal(sae.W_dec_FD, before)
