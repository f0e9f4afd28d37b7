"""bfloat16 runs against float32 ones, and weights saved in few bits against what was trained."""

import pytest
import safetensors.torch
import torch

from lexiscope import saes
from lexiscope.saes import Batch, create
from lexiscope.train import TrainConfig, train
from lexiscope.train.precision import rounded, rounded_weights

SMALL = saes.topk.Config(num_latents=64, k=3)


def test_matrices_are_rounded_inside_and_the_masters_come_back(world):
    sae = create(SMALL, world.x_TD[:500])
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    with rounded_weights(sae, "bfloat16"):
        assert torch.equal(sae.W_enc_FD, before["W_enc_FD"].bfloat16().float())
        assert torch.equal(sae.b_dec_D, before["b_dec_D"])
        sae(world.x_TD[:50]).sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in sae.state_dict().items())
    assert sae.W_dec_FD.grad is not None


def test_float32_rounds_nothing(world):
    batch = Batch.same(world.x_TD[:50])
    assert rounded(batch, "float32") is batch
    assert torch.equal(rounded(batch, "bfloat16").input_TD, world.x_TD[:50].bfloat16().float())


def test_a_run_in_bfloat16_ends_where_float32_does(store, tmp_path):
    config = TrainConfig(tokens=100_000, batch_tokens=500, heldout_tokens=2000)
    fvu = {}
    for precision in ("float32", "bfloat16"):
        sae = train(store, SMALL, config.model_copy(update={"precision": precision}), out=tmp_path / precision)
        fvu[precision] = sae.artifact.manifest["heldout"]["fvu"]
    assert fvu["bfloat16"] == pytest.approx(fvu["float32"], abs=0.005)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_saved_in_few_bits_pass_the_check(store, tmp_path, dtype):
    config = TrainConfig(tokens=4_000, batch_tokens=400, heldout_tokens=2000, weights_dtype=dtype)
    sae = train(store, SMALL, config, out=tmp_path / "sae")
    saved = safetensors.torch.load_file(tmp_path / "sae" / "sae.safetensors")
    assert saved["W_dec_FD"].dtype == getattr(torch, dtype)
    assert saved["b_enc_F"].dtype == sae.W_dec_FD.dtype == torch.float32
