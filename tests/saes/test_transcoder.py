"""Transcoders against loops over tokens in plain Python and dense autograd in float64."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch, TrainingState, create, transcoder
from lexiscope.saes.affine import Affine
from lexiscope.saes.registry import activations

D, E, F, K = 12, 7, 40, 4
IN, OUT = HookPoint.parse("mlp_in.2"), HookPoint.parse("mlp_out.2")


@pytest.fixture
def batch(sample_TD):
    return Batch(sample_TD, (sample_TD[:, :E] * sample_TD[:, 2 : E + 2]).tanh() + 3)


def make(batch, **settings):
    """In float64, away from its start, a skip included."""
    config = transcoder.Config.read({"num_latents": F, "activation": {"name": "topk", "k": K}, **settings}, "here")
    sae = transcoder.Transcoder.from_sample(config, batch).double()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return sae


def reference(sae, batch):
    """Token by token: the k largest scores that are positive, their rows added up, the map around them."""
    total = 0.0
    for x_D, y_E in zip(*batch, strict=True):
        scores_F = sae.W_enc_FD @ x_D + sae.b_enc_F
        fired = [f for f in scores_F.argsort(descending=True)[:K].tolist() if scores_F[f] > 0]
        output_E = sae.b_dec_D + sum(scores_F[f] * sae.W_dec_FD[f] for f in fired)
        if sae.W_skip_ED is not None:
            output_E = output_E + torch.stack([row_D @ x_D for row_D in sae.W_skip_ED])
        total = total + (y_E - output_E).square().sum()
    return total / (len(batch.input_TD) * E)


@pytest.mark.parametrize("skip", [False, True])
def test_reconstruction_and_its_gradient(batch, skip):
    sae, batch = make(batch, skip=skip), Batch(*(tensor[:30].double() for tensor in batch))
    codes = sae.encode(batch.input_TD)
    output_TE = sae.reconstruct(batch.input_TD, codes)
    terms = sae.losses(batch, codes, output_TE, TrainingState(torch.zeros(F, dtype=torch.bool)))
    expected = reference(sae, batch)
    assert set(terms) == {"reconstruction"}
    torch.testing.assert_close(terms["reconstruction"], expected)
    parameters = dict(sae.named_parameters())
    assert ("W_skip_ED" in parameters) == skip
    grads = [torch.autograd.grad(term, list(parameters.values())) for term in (terms["reconstruction"], expected)]
    for name, ours, theirs in zip(parameters, *grads, strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_the_start_does_not_depend_on_where_the_activations_lie(batch):
    """The encoder subtracts nothing: a start that ignored the mean of x would fire the same latents everywhere."""
    config = transcoder.Config(num_latents=F, skip=True)
    here = transcoder.Transcoder.from_sample(config, batch, seed=2)
    there = transcoder.Transcoder.from_sample(config, Batch(batch.input_TD + 100, batch.target_TD), seed=2)
    x_TD = batch.input_TD
    torch.testing.assert_close(here.encode(x_TD).dense(), there.encode(x_TD + 100).dense(), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(here.b_dec_D, batch.target_TD.mean(0))
    assert not here.W_skip_ED.any()
    torch.testing.assert_close(here.W_dec_FD.norm(dim=1), torch.ones(F))


def test_units_that_differ_by_dimension_are_taken_over(batch):
    """Oracle: normalise by hand, run, undo by hand."""
    sae, (x_TD, y_TE) = make(batch, skip=True), (tensor.double() for tensor in batch)
    source = Affine(x_TD.mean(0) + 1, torch.linspace(0.1, 2, D, dtype=torch.float64))
    target = Affine(y_TE.mean(0) - 1, torch.linspace(3, 0.5, E, dtype=torch.float64))
    expected_TE = sae(source(x_TD)) / target.scale_D + target.centre_D
    sae.absorb(source, target)
    torch.testing.assert_close(sae(x_TD), expected_TE)


@pytest.mark.parametrize("name", activations())
def test_units_are_taken_over_by_every_activation(batch, name):
    """The same oracle, for weights of activations that are not at their start: thresholds, gates, magnitudes."""
    config = transcoder.Config(num_latents=F, activation={"name": name})
    sae = transcoder.Transcoder.from_sample(config, batch).double().eval()
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in (*sae.parameters(), *sae.buffers()):
            tensor.add_(0.2 * torch.rand(tensor.shape, generator=rng, dtype=torch.float64))
    x_TD, y_TE = (tensor.double() for tensor in batch)
    source = Affine(x_TD.mean(0) + 1, torch.linspace(0.1, 2, D, dtype=torch.float64))
    target = Affine(y_TE.mean(0) - 1, torch.full((E,), 0.3, dtype=torch.float64))
    expected_TE, fired = sae(source(x_TD)) / target.scale_D + target.centre_D, len(sae.encode(source(x_TD)))
    sae.absorb(source, target)
    assert 0 < fired < F * len(x_TD)
    assert len(sae.encode(x_TD)) == fired
    torch.testing.assert_close(sae(x_TD), expected_TE)


def test_which_hook_points_make_sense():
    config = transcoder.Config()
    assert config.for_sites((IN,), (OUT,), [D]) == config
    with pytest.raises(InputError, match=r"from mlp_in.2 to itself is an autoencoder; .* use architecture topk"):
        config.for_sites((IN,), (IN,), [D])
    with pytest.raises(InputError, match="one hook point and writes one"):
        config.for_sites((IN, OUT), (OUT,), [D, E])


def test_loads_with_the_width_it_writes(batch, tmp_path):
    from lexiscope.saes import load

    sae = create(transcoder.Config(num_latents=F, skip=True), batch)
    sae.reads, sae.writes = (IN,), (OUT,)
    sae.save(tmp_path / "sae")
    again = load(tmp_path / "sae")
    assert (again.width, again.output_width, again.hook, again.writes) == (D, E, IN, (OUT,))
    assert torch.equal(again(batch.input_TD), sae(batch.input_TD))
