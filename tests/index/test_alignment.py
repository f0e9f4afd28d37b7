"""Alignment. Oracles: squares written out, and a neuron's own direction, which must be told first."""

from __future__ import annotations

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.directions.alignment import align, alignment, by_chance, loadings, spread
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import crosscoder, topk
from lexiscope.saes.parts import random_directions


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


def dictionary(model, hook):
    sae = topk.TopK(topk.Config(num_latents=8, k=2), model.width)
    with torch.no_grad():
        for weight in (sae.W_enc_FD, sae.W_dec_FD):
            weight.copy_(torch.randn(8, model.width, generator=torch.Generator().manual_seed(0)))
    sae.hook = HookPoint.parse(hook)
    return sae


def test_shares_are_squares_of_a_unit_direction():
    direction_D = torch.tensor([3.0, 0.0, -4.0])
    found = loadings(direction_D[None], 2)
    assert found.neurons_FK.tolist() == [[2, 0]]
    assert found.cosines_FK[0].tolist() == pytest.approx([-0.8, 0.6])
    assert float(spread(direction_D[None])[0]) == pytest.approx(25**2 / (81 + 256))
    assert spread(torch.eye(4)).tolist() == [1, 1, 1, 1]
    assert float(spread(torch.ones(1, 64))[0]) == pytest.approx(64)


def test_all_shares_add_up_at_a_place(demo):
    decoder, encoder = alignment(demo, dictionary(demo, "resid_post.1"), 3, keep=demo.width)
    assert (decoder.direction, decoder.basis, encoder.direction) == ("decoder", "dimensions", "encoder")
    for aligned in (decoder, encoder):
        assert sum(loading.share for loading in aligned.loadings) == pytest.approx(1, rel=1e-4)
        assert aligned.loadings == sorted(aligned.loadings, key=lambda loading: -loading.share)


def test_a_neurons_own_direction_is_that_neuron(demo):
    """Oracle: the MLP run with one neuron switched on, by a hook before its last linear map."""
    sae = dictionary(demo, "mlp_out.1")
    last = demo._anatomy.blocks[1].mlp.down_proj
    one_hot = torch.zeros(1, 1, last.in_features)
    one_hot[..., 17] = 1
    with torch.no_grad():
        sae.W_dec_FD[5] = -2 * last(one_hot)[0, 0]
    found = [aligned for aligned in alignment(demo, sae, 5) if aligned.basis == "neurons"]
    assert [aligned.direction for aligned in found] == ["decoder", "encoder"]
    first = found[0].loadings[0]
    assert (first.neuron, first.cosine) == (17, pytest.approx(-1, abs=1e-5))
    assert found[0].loadings[1].share < 0.9


def test_a_crosscoder_is_told_place_by_place(demo):
    config = crosscoder.Config(num_latents=4).for_sites([1, 2], [1, 2], [demo.width] * 2)
    sae = crosscoder.Crosscoder(config, 2 * demo.width)
    sae.reads = sae.writes = (HookPoint.parse("resid_post.0"), HookPoint.parse("resid_post.2"))
    with torch.no_grad():
        sae.W_dec_FD[1, 7], sae.W_dec_FD[1, demo.width + 9] = 3.0, 0.1
    decoder = [aligned for aligned in alignment(demo, sae, 1) if aligned.direction == "decoder"]
    assert [(aligned.hook, aligned.loadings[0].neuron) for aligned in decoder] == [
        ("resid_post.0", 7),
        ("resid_post.2", 9),
    ]


def test_a_feature_that_is_not_there(demo):
    with pytest.raises(InputError, match="no feature 8"):
        alignment(demo, dictionary(demo, "resid_post.1"), 8)


@pytest.mark.parametrize("width", [16, 512])
def test_random_directions_are_spread_over_a_third(width):
    """Oracle: E Σ w⁴ = 3 / (D + 2) of a direction drawn from the sphere; and directions drawn with other seeds."""
    chance = by_chance(width)
    drawn_ND = random_directions(2000, width, seed=9)
    assert chance.spread == pytest.approx((width + 2) / 3, rel=0.15)
    assert chance.spread == pytest.approx(float(spread(drawn_ND).mean()), rel=0.05)
    assert float((spread(drawn_ND) < chance.spread_low).float().mean()) == pytest.approx(0.05, abs=0.03)
    largest = drawn_ND.square().max(1).values
    assert chance.share == pytest.approx(float(largest.mean()), rel=0.05)
    assert float((largest > chance.share_high).float().mean()) == pytest.approx(0.05, abs=0.03)


def test_chance_in_a_basis_is_that_of_its_neurons():
    """Oracle: a basis of one neuron, whose share is on average 1 / D."""
    chance = by_chance(32, torch.eye(32)[:1])
    assert chance.share == pytest.approx(1 / 32, rel=0.2)
    assert chance.spread == by_chance(32).spread


def test_a_row_needs_neither_the_model_nor_the_dictionary(demo):
    sae = dictionary(demo, "resid_post.1")
    hooks = [HookPoint.parse("resid_post.1")]
    assert align("decoder", sae.W_dec_FD[3], hooks) == alignment(demo, sae, 3)[:1]
    two = align("decoder", torch.cat([torch.eye(8)[2], torch.ones(4)]), hooks * 2, (8, 4))
    assert [(one.width, one.loadings[0].share) for one in two] == [(8, 1), (4, pytest.approx(1 / 4))]
