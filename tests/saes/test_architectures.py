"""The contract of every architecture. Files of the folder are found, not listed: a new one is tested by being there."""

import contextlib
import json
from pathlib import Path

import pytest
import torch

from lexiscope import saes
from lexiscope.core.artifact import open_artifact
from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch, TrainingState, registry
from lexiscope.saes.affine import Affine
from lexiscope.saes.weights import WEIGHTS

HOOK, OTHER = HookPoint.parse("resid_post.3"), HookPoint.parse("mlp_out.3")
PLACES = [((HOOK,), (HOOK,), [12]), ((HOOK,), (OTHER,), [12]), ((HOOK, OTHER), (HOOK, OTHER), [5, 7])]
"""What is read, what is written, the widths of what is read: of an autoencoder, a transcoder, a crosscoder."""


@pytest.fixture(params=sorted(saes.architectures()))
def place(request):
    """Settings, and the one of `PLACES` that the architecture takes. Few latents: there are 12 dimensions."""
    make, found = saes.architectures()[request.param].Config, []
    config = make(k=4) if "k" in make.model_fields else make()
    for reads, writes, widths in PLACES:
        with contextlib.suppress(InputError):
            found.append((config.for_sites(reads, writes, widths), reads, writes))
    (only,) = found
    return only


@pytest.fixture
def batch(place, sample_TD):
    """What a transcoder writes is another function of the same tokens, and narrower."""
    _, reads, writes = place
    return Batch.same(sample_TD) if reads == writes else Batch(sample_TD, (sample_TD[:, :9] * sample_TD[:, 3:]).tanh())


@pytest.fixture
def units(place, batch):
    """Other centres and scales than the activations have: one scale for each hook point."""
    _, reads, writes = place
    source = Affine.uniform(batch.input_TD.mean(0) + 0.3, 0.125)
    if reads != writes:
        return source, Affine.uniform(batch.target_TD.mean(0) - 0.2, 0.5)
    if len(reads) > 1:
        source.scale_D[5:] = 0.4
    return source, source


@pytest.fixture
def sae(place, batch):
    return saes.create(place[0], batch, seed=1)


def loss_terms(sae, batch):
    codes = sae.encode(batch.input_TD)
    state = TrainingState(dead_F=torch.arange(sae.num_latents) % 7 == 0)
    return codes, sae.losses(batch, codes, sae.reconstruct(batch.input_TD, codes), state)


def test_the_folder_is_the_registry():
    folder = Path(registry.__file__).parent
    files = {file.stem for place in (folder, folder / "baselines") for file in place.glob("*.py")}
    helpers = "__init__ activation affine base dictionary fixed initialise nested parts permuted registry repair"
    assert set(saes.architectures()) == files - set(helpers.split()) - {"settings", "weights"}


def test_codes_and_outputs_have_the_right_shape(sae, batch):
    sample_TD = batch.input_TD
    codes = sae.encode(sample_TD)
    assert (codes.num_tokens, codes.num_latents) == (len(sample_TD), sae.num_latents)
    assert (codes.values != 0).all()
    assert codes.offsets[-1] == len(codes)
    assert sae(sample_TD).shape == batch.target_TD.shape
    assert sae.directions_FD.shape == (sae.num_latents, sae.output_width)
    assert sae.device == sae.directions_FD.device


def test_a_token_is_encoded_the_same_alone_and_in_a_batch(sae, sample_TD):
    alone = torch.cat([sae(x_D[None]) for x_D in sample_TD[:20]])
    torch.testing.assert_close(alone, sae(sample_TD)[:20])


def test_some_latents_are_read_as_in_all_of_them(sae, sample_TD):
    """Oracle: their columns of the dense codes."""
    chosen = [0] if sae.num_latents < 8 else [7, 0, 5, sae.num_latents - 1]
    torch.testing.assert_close(sae.reader(chosen)(sample_TD), sae.encode(sample_TD).dense()[:, chosen])


@pytest.mark.parametrize("training", [False, True])
def test_few_tokens_are_encoded_as_ever(sae, sample_TD, training):
    """Oracle: `encode` without entries of value zero, also after the weights have changed."""
    sae.train(training)
    encode = sae.encoder()
    for part_TD in sample_TD[:60].split(3):
        found, expected = encode(part_TD), sae.encode(part_TD).fired()
        assert torch.equal(found.offsets, expected.offsets)
        assert torch.equal(found.latents, expected.latents)
        torch.testing.assert_close(found.values, expected.values)
        assert not found.values.requires_grad
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.mul_(0.5)
    assert torch.equal(encode(sample_TD[:1]).dense(), sae.encode(sample_TD[:1]).fired().dense())


def test_directions_are_what_a_unit_of_a_latent_adds(sae):
    """Oracle: decode the identity and subtract what no latent gives."""
    nothing = sae.decode(SparseCodes.from_dense(torch.zeros(1, sae.num_latents)))
    each = sae.decode(SparseCodes.from_dense(torch.eye(sae.num_latents)))
    torch.testing.assert_close(each - nothing, sae.directions_FD, rtol=1e-4, atol=1e-5)


def test_losses_are_pure(sae, batch):
    """Looking twice gives the same numbers and leaves the same weights; there is always a reconstruction term."""
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    codes, first = loss_terms(sae, batch)
    _, second = loss_terms(sae, batch)
    assert "reconstruction" in first
    assert {name: term.item() for name, term in first.items()} == {name: term.item() for name, term in second.items()}
    assert all(term.ndim == 0 and torch.isfinite(term) for term in first.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in sae.state_dict().items())
    assert codes.num_tokens == len(batch.input_TD)


def test_absorbing_a_normalisation_gives_the_same_answers_in_raw_units(place, batch, units):
    """Oracle: normalise by hand, run, undo by hand. Codes come out in the units of what is written."""
    source, target = units
    normal = Batch(source(batch.input_TD), target(batch.target_TD))
    sae = saes.create(place[0], normal, seed=1)
    codes = sae.encode(normal.input_TD)
    expected_TD = sae.reconstruct(normal.input_TD, codes) / target.scale_D + target.centre_D
    expected_TF = codes.dense() / (target.scale if target.has_one_scale else 1)
    sae.absorb(source, target)
    torch.testing.assert_close(sae(batch.input_TD), expected_TD, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sae.encode(batch.input_TD).dense(), expected_TF, rtol=1e-3, atol=1e-4)


def test_saved_and_loaded_is_the_same_to_the_bit(sae, place, sample_TD, tmp_path):
    _, sae.reads, sae.writes = place
    sae.save(tmp_path / "sae", sources={"corpus": {"source": "none"}}, notes={"why": "a test"})
    again = saes.load(tmp_path / "sae")
    assert type(again) is type(sae)
    assert not again.training
    assert (again.config, again.width, again.num_latents) == (sae.config, 12, sae.num_latents)
    assert (again.reads, again.writes, again.output_width) == (sae.reads, sae.writes, sae.output_width)
    assert torch.equal(again(sample_TD), sae(sample_TD))
    manifest = json.loads((tmp_path / "sae" / "manifest.json").read_text())
    assert manifest["kind"] == "sae"
    assert manifest["config"]["reads"][0] == "resid_post.3"
    assert manifest["config"]["sae"]["architecture"] == sae.config.architecture
    assert (manifest["why"], manifest["sources"]) == ("a test", {"corpus": {"source": "none"}})
    assert again.artifact.fingerprint == open_artifact(tmp_path / "sae", "sae").fingerprint
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "sae" / WEIGHTS).read_bytes()


def test_the_same_seed_gives_the_same_autoencoder(sae, batch):
    again = saes.create(sae.config, batch, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(sae.state_dict().values(), again.state_dict().values(), strict=True))


def test_unknown_keys_are_refused(sae):
    with pytest.raises(InputError, match="unknown key 'spelt_wrong'"):
        saes.read_config({"architecture": sae.config.architecture, "spelt_wrong": 1}, "recipe.toml")


def test_settings_round_trip(sae):
    assert saes.read_config(sae.config.model_dump(mode="json"), "here") == sae.config


def test_gradients_do_not_depend_on_which_thread_is_first(sae, batch):
    """Enough entries for torch to divide them among threads; the same bits however often they are found."""
    if not any(parameter.requires_grad for parameter in sae.parameters()):
        pytest.skip("nothing to train")
    many, found = Batch(batch.input_TD.repeat(20, 1), batch.target_TD.repeat(20, 1)), []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    for _ in range(4):
        sae.zero_grad()
        sum(loss_terms(sae.train(), many)[1].values()).backward()
        found.append([parameter.grad for parameter in sae.parameters() if parameter.grad is not None])
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(grad, first) for grad, first in zip(other, found[0], strict=True))


@pytest.mark.parametrize("name", ["os", "base", "../topk", "topk.py", "lexiscope.saes.topk", ""])
def test_a_string_selects_only_an_architecture(name):
    with pytest.raises(InputError, match="no architecture is called"):
        saes.read_config({"architecture": name}, "recipe.toml")


def test_weights_that_do_not_fit_their_settings_are_an_error_in_one_sentence(sample_TD, tmp_path):
    sae = saes.create(saes.topk.Config(num_latents=24), sample_TD)
    sae.write_weights(tmp_path)
    settings = saes.create(saes.topk.Config(num_latents=25), sample_TD).settings()
    with pytest.raises(ArtifactError, match="do not make a TopK"):
        saes.topk.TopK.read_weights(settings, tmp_path)
    (tmp_path / "sae.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ArtifactError, match="do not make a TopK"):
        saes.topk.TopK.read_weights(sae.settings(), tmp_path)


def test_expansion_and_num_latents_exclude_each_other():
    assert saes.topk.Config().latents(10) == 160
    assert saes.topk.Config(expansion=0.5).latents(10) == 5
    assert saes.topk.Config(num_latents=7).latents(10) == 7
    with pytest.raises(InputError, match="not both"):
        saes.read_config({"architecture": "topk", "expansion": 2, "num_latents": 7}, "recipe.toml")
