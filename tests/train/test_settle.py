"""Repairs between the last step and saving. Oracle: the same run without them, and what was planted."""

import pytest
import torch

from lexiscope import saes
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.saes import Batch
from lexiscope.saes.affine import Affine
from lexiscope.saes.repair import undo_shrinkage
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.run import train
from lexiscope.train.settle import settle
from lexiscope.train.stream import Units

SHRUNKEN = saes.relu_l1.Config(num_latents=64, l1_coefficient=3.0)
LONG = TrainConfig(tokens=100_000, batch_tokens=500, heldout_tokens=2000)


def test_shrinkage_is_measured_and_undone(store, tmp_path):
    plain = train(store, SHRUNKEN, LONG, out=tmp_path / "plain")
    repaired = train(store, SHRUNKEN, LONG.model_copy(update={"repair": ("shrinkage",)}), out=tmp_path / "repaired")
    notes = repaired.artifact.manifest
    assert notes["repairs"]["shrinkage"]["slope"] > 1.02
    assert notes["repairs"]["shrinkage"]["fvu_after"] < notes["repairs"]["shrinkage"]["fvu_before"]
    assert notes["heldout"]["l0"] == pytest.approx(plain.artifact.manifest["heldout"]["l0"])
    assert notes["heldout"]["fvu"] < 0.95 * plain.artifact.manifest["heldout"]["fvu"]
    assert undo_shrinkage(plain, store.x_TD[-2000:]).per == notes["repairs"]["shrinkage"]["per"]
    cosines_F = torch.nn.functional.cosine_similarity(plain.W_dec_FD, repaired.W_dec_FD)
    torch.testing.assert_close(cosines_F, torch.ones(64))
    assert "repairs" not in plain.artifact.manifest


def test_duplicates_are_merged(store, tmp_path):
    """Planted in a trained dictionary: one latent becomes two that together give what it gave."""
    sae = train(store, SHRUNKEN, LONG, out=tmp_path / "sae")
    heldout, whole = [Batch.same(store.x_TD[-2000:])], sae.artifact.manifest["heldout"]
    latent, rare = (int(place) for place in sae.encode(heldout[0].input_TD).firings().argsort()[[-1, 0]])
    with torch.no_grad():
        sae.W_dec_FD[rare] = sae.W_dec_FD[latent]
        for weights in (sae.W_enc_FD, sae.b_enc_F):
            weights[latent] *= 0.6
            weights[rare] = weights[latent] * (0.4 / 0.6)
    config, _ = resolve(LONG.model_copy(update={"repair": ("duplicates",)}), SHRUNKEN, 24)
    same = Affine.uniform(torch.zeros(24), 1.0)
    with write_artifact(tmp_path / "repaired", "sae", config=sae.settings()) as draft:
        settle(sae, Units(same, same), heldout, draft, config, {})
    assert draft.notes["repairs"]["duplicates"][latent] == [rare]  # others may have come about by themselves
    assert draft.notes["heldout"]["fvu"] == pytest.approx(whole["fvu"], rel=0.05)
    assert not saes.load(tmp_path / "repaired").W_dec_FD[rare].any()


@pytest.mark.parametrize(
    ("config", "repair", "message"),
    [
        (saes.gated.Config(num_latents=64), ("duplicates",), "duplicates of gated can't be merged"),
        (saes.matching_pursuit.Config(num_latents=64), ("shrinkage",), "needs an encoder row for every latent"),
    ],
)
def test_what_cannot_be_repaired_is_refused_before_the_first_step(store, tmp_path, config, repair, message):
    with pytest.raises(InputError, match=message):
        train(store, config, LONG.model_copy(update={"repair": repair}), out=tmp_path / "sae")
    assert not list(tmp_path.iterdir())
