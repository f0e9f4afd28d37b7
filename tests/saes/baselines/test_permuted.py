"""The permuted decoder: same codes, every direction at somebody else's."""

import pytest
import torch

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, baselines, create, registry
from lexiscope.saes.dictionary import LinearDictionary

LINEAR = [
    name
    for name in saes.architectures()
    if issubclass(registry.class_of(name), LinearDictionary) and name not in ("crosscoder", "transcoder")
]


@pytest.mark.parametrize("name", LINEAR)
def test_codes_stay_and_no_direction_does(name, sample_TD):
    config = saes.architectures()[name].Config(num_latents=48)
    sae = create(config, sample_TD, seed=1)
    permuted = baselines.permute_decoder(sae, seed=2)
    ours, theirs = sae.encode(sample_TD), permuted.encode(sample_TD)
    assert torch.equal(ours.latents, theirs.latents)
    assert torch.equal(ours.values, theirs.values)
    rows, moved = sae.directions_FD.tolist(), permuted.directions_FD.tolist()
    assert sorted(rows) == sorted(moved)
    assert all(row != other for row, other in zip(rows, moved, strict=True))


def test_it_is_a_copy_and_saves_like_any(sample_TD, tmp_path):
    sae = create(saes.topk.Config(num_latents=24, k=3), sample_TD)
    before = sae.directions_FD.clone()
    permuted = baselines.permute_decoder(sae)
    assert torch.equal(sae.directions_FD, before)
    permuted.save(tmp_path / "permuted")
    assert torch.equal(saes.load(tmp_path / "permuted")(sample_TD), permuted(sample_TD))


def test_what_has_no_decoder_of_its_own_is_refused(sample_TD):
    with pytest.raises(InputError, match="pca has no decoder apart from its encoder"):
        baselines.permute_decoder(saes.pca.Pca.from_sample(saes.pca.Config(), Batch.same(sample_TD)))
