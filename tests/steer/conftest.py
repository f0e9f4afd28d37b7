"""The tiny models of `tests/lm`, one of every family, and dictionaries for them."""

from __future__ import annotations

import pytest
import torch
from tests.lm.conftest import (  # noqa: F401
    every_model,
    pytest_generate_tests,
    tiny,
    tiny_folder,
    tokens_BC,
)

from lexiscope import saes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch

HOOK = HookPoint("resid_post", 1)


def dictionary(model, config=None, hook=HOOK):
    """A dictionary with random directions. Feature 3 never fires, whatever it reads; the others do now and then."""
    tokens = torch.randint(3, model.vocab_size, (16, 12), generator=torch.Generator().manual_seed(7))
    sample_TD = model.read(tokens, [hook])[hook].flatten(0, 1).float()
    config = config or saes.relu_l1.Config(num_latents=24)
    sae = saes.create(config, Batch.same(sample_TD), seed=1)
    with torch.no_grad():
        if hasattr(sae, "b_enc_F"):
            sae.b_enc_F[3] = -1e6
    sae.hook = hook
    return sae


@pytest.fixture
def small(tiny):  # noqa: F811
    return tiny("llama")
