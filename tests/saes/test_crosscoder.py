"""Crosscoders against loops over tokens, sites and latents in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch, TrainingState, create, crosscoder
from lexiscope.saes.affine import Affine

WIDTHS, F, K = (5, 4, 3), 40, 4
SITES = tuple(HookPoint.parse(f"resid_post.{layer}") for layer in range(3))
DECODER_NORM = {"name": "relu_l1", "penalty": "decoder_norm", "l1_coefficient": 0.7}


def make(sample_TD, **settings):
    """In float64, away from its start."""
    config = crosscoder.Config.read({"num_latents": F, "site_widths": WIDTHS, **settings}, "here")
    sae = crosscoder.Crosscoder.from_sample(config, Batch.same(sample_TD)).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return sae


def reference(sae, x_TD, fires):
    """Token by token and site by site, with the three pieces of every weight cut out by hand."""
    spans = [slice(0, 5), slice(5, 9), slice(9, 12)]
    error, cost = 0.0, 0.0
    for x_D in x_TD:
        scores_F = sum(sae.W_enc_FD[:, span] @ x_D[span] for span in spans) + sae.b_enc_F
        fired = fires(scores_F)
        for span in spans:
            output_C = sae.b_dec_D[span] + sum(scores_F[f] * sae.W_dec_FD[f, span] for f in fired)
            error = error + (x_D[span] - output_C).square().sum()
        for f in fired:
            cost = cost + scores_F[f] * sum(sae.W_dec_FD[f, span].square().sum().sqrt() for span in spans)
    return error / x_TD.numel(), 0.7 * cost / x_TD.numel()


def k_largest(scores_F):
    return [f for f in scores_F.argsort(descending=True)[:K].tolist() if scores_F[f] > 0]


def positive(scores_F):
    return (scores_F > 0).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("activation", "fires", "names"),
    [
        ({"name": "topk", "k": K}, k_largest, ["reconstruction"]),
        (DECODER_NORM, positive, ["reconstruction", "sparsity"]),
    ],
    ids=["topk", "decoder_norm"],
)
def test_losses_and_their_gradients(sample_TD, activation, fires, names):
    sae, x_TD = make(sample_TD, activation=activation), sample_TD[:30].double()
    codes = sae.encode(x_TD)
    state = TrainingState(torch.zeros(F, dtype=torch.bool))
    terms = sae.losses(Batch.same(x_TD), codes, sae.reconstruct(x_TD, codes), state)
    assert list(terms) == names
    parameters = dict(sae.named_parameters())
    for term, expected in zip(terms.values(), reference(sae, x_TD, fires), strict=False):
        torch.testing.assert_close(term, expected)
        ours, theirs = (
            torch.autograd.grad(value, list(parameters.values()), allow_unused=True, retain_graph=True)
            for value in (term, expected)
        )
        for name, one, other in zip(parameters, ours, theirs, strict=True):
            if other is None:
                assert one is None or not one.any(), name
            else:
                torch.testing.assert_close(one, other, msg=name)


def test_lengths_are_of_every_site(sample_TD):
    """Planted: a latent that lives at one site only."""
    sae = make(sample_TD)
    with torch.no_grad():
        sae.W_dec_FD[7] = torch.tensor([0.0] * 5 + [3.0, 0.0, 4.0, 0.0] + [0.0] * 3)
    assert sae.site_lengths_SF[:, 7].tolist() == [0, 5, 0]
    torch.testing.assert_close(sae.row_lengths_F, sae.site_lengths_SF.sum(0))
    assert [tuple(rows_FC.shape) for rows_FC in sae.site_directions] == [(F, 5), (F, 4), (F, 3)]


def test_unit_rows_are_unit_over_all_sites(sample_TD):
    sae = create(crosscoder.Config(num_latents=F, site_widths=WIDTHS, activation="topk"), sample_TD)
    assert sae.unit_rows == (sae.W_dec_FD,)
    torch.testing.assert_close(sae.site_lengths_SF.square().sum(0), torch.ones(F))
    assert create(crosscoder.Config(site_widths=WIDTHS, activation=DECODER_NORM), sample_TD).unit_rows == ()


def test_every_site_keeps_its_own_units(sample_TD):
    """Oracle: normalise by hand, run, undo by hand. Lengths at a site grow by what its activations grow by."""
    sae, x_TD = make(sample_TD), sample_TD.double()
    units = Affine(x_TD.mean(0) + 1, torch.tensor([0.5] * 5 + [2.0] * 4 + [0.1] * 3, dtype=torch.float64))
    expected_TD, lengths_SF = sae(units(x_TD)) / units.scale_D + units.centre_D, sae.site_lengths_SF
    codes_TF = sae.encode(units(x_TD)).dense()
    sae.absorb(units, units)
    torch.testing.assert_close(sae(x_TD), expected_TD)
    torch.testing.assert_close(sae.encode(x_TD).dense(), codes_TF)
    torch.testing.assert_close(sae.site_lengths_SF, lengths_SF * torch.tensor([[2.0], [0.5], [10.0]]).double())


def test_which_hook_points_make_sense():
    config = crosscoder.Config()
    assert config.for_sites(SITES, SITES, WIDTHS).site_widths == WIDTHS
    assert config.for_sites(SITES, SITES, WIDTHS).for_sites(SITES, SITES, WIDTHS).site_widths == WIDTHS
    with pytest.raises(InputError, match="a crosscoder of resid_post.0 alone is an autoencoder"):
        config.for_sites(SITES[:1], SITES[:1], [5])
    with pytest.raises(InputError, match="leave target out"):
        config.for_sites(SITES, SITES[:2], WIDTHS)
    with pytest.raises(InputError, match=r"site_widths are \(6, 6\), but the hook points have \(5, 4, 3\)"):
        crosscoder.Config(site_widths=(6, 6)).for_sites(SITES, SITES, WIDTHS)


def test_sites_that_do_not_make_up_the_activations_are_refused(sample_TD):
    for widths in (None, (6, 5)):
        with pytest.raises(InputError, match="do not make up the 12 dimensions"):
            create(crosscoder.Config(site_widths=widths), sample_TD)
    with pytest.raises(InputError, match="at least 2"):
        crosscoder.Config.read({"site_widths": [12]}, "here")
