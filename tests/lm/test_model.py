"""LanguageModel: what it says of itself, what it takes, and what it leaves unloaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel

Tiny = Callable[[str], LanguageModel]
TinyFolder = Callable[[str], Path]


def test_import_loads_no_transformers() -> None:
    script = "import sys, lexiscope.lm.model; print('transformers' in sys.modules, 'huggingface_hub' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_description_is_ready_for_a_manifest(tiny: Tiny, tiny_folder: TinyFolder) -> None:
    described = json.loads(json.dumps(tiny("gemma2").describe()))
    assert described["name"] == str(tiny_folder("gemma2"))
    assert described["family"] == "Gemma 2"
    assert described["dtype"] == "float32"
    assert described["revision"] is None
    assert len(described["fingerprint"]) == len(described["tokenizer_fingerprint"]) == 64


def test_fingerprint_follows_config_and_weights_alone(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "copy")
    first = LanguageModel(tiny_folder("llama"))
    assert LanguageModel(folder).fingerprint == first.fingerprint
    (folder / "README.md").write_text("a card")
    assert LanguageModel(folder).fingerprint == first.fingerprint
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    changed = LanguageModel(folder)
    assert changed.fingerprint != first.fingerprint
    assert changed.tokenizer.fingerprint == first.tokenizer.fingerprint


def test_shapes_are_those_of_the_config(every_model: LanguageModel, tokens_BC: Tensor) -> None:
    assert (every_model.width, every_model.num_layers, every_model.vocab_size) == (16, 3, 64)
    assert every_model.max_context >= 32
    assert every_model.logits(tokens_BC).shape == (*tokens_BC.shape, every_model.vocab_size)
    found = every_model.read(tokens_BC, every_model.hook_points())
    for hook in every_model.hook_points():
        assert found[hook].shape == (*tokens_BC.shape, every_model.width_at(hook))
    assert every_model.read(tokens_BC, []) == {}


def test_weights_are_frozen_and_dropout_is_off(every_model: LanguageModel, tokens_BC: Tensor) -> None:
    assert not every_model.module.training
    assert not any(parameter.requires_grad for parameter in every_model.module.parameters())
    assert torch.equal(every_model.logits(tokens_BC), every_model.logits(tokens_BC))


def test_padding_on_the_right_changes_no_real_token(every_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: the shorter context by itself, and transformers given the mask."""
    hook = HookPoint("resid_post", 2)
    attention_BC = torch.ones_like(tokens_BC, dtype=torch.bool)
    attention_BC[1, 5:] = False
    padded_BC = tokens_BC.masked_fill(~attention_BC, 0)
    together = every_model.read(padded_BC, [hook], attention_BC)[hook]
    alone = every_model.read(tokens_BC[1:, :5], [hook])[hook]
    assert torch.allclose(together[1, :5], alone[0], atol=1e-5)
    with torch.no_grad():
        masked = every_model.module(padded_BC, attention_mask=attention_BC.long(), use_cache=False).logits
    assert torch.allclose(every_model.logits(padded_BC, attention_BC)[attention_BC], masked[attention_BC], atol=1e-4)


def test_tokens_that_the_model_cannot_take(tiny: Tiny, tokens_BC: Tensor) -> None:
    model = tiny("gpt2")
    left = torch.ones_like(tokens_BC, dtype=torch.bool)
    left[0, 0] = False
    for tokens, attention, message in (
        (tokens_BC[0], None, "contexts, tokens"),
        (tokens_BC[:, :0], None, "contexts, tokens"),
        (tokens_BC.float(), None, "integers"),
        (torch.full((1, 33), 3), None, "longer than the 32"),
        (tokens_BC + 60, None, "not among the 64"),
        (-tokens_BC, None, "not among the 64"),
        (tokens_BC, left, "on the right"),
    ):
        with pytest.raises(InputError, match=message):
            model.logits(tokens, attention)


def test_half_precision(tiny_folder: TinyFolder, tokens_BC: Tensor) -> None:
    """Oracle: the float32 model, to bfloat16's three digits."""
    hook = HookPoint("resid_post", 1)
    exact, model = LanguageModel(tiny_folder("llama")), LanguageModel(tiny_folder("llama"), dtype="bfloat16")
    x_BCD = model.read(tokens_BC, [hook])[hook]
    assert x_BCD.dtype == torch.bfloat16
    assert (
        torch.nn.functional.cosine_similarity(x_BCD.float(), exact.read(tokens_BC, [hook])[hook], dim=-1).min() > 0.99
    )
    with model.splice({hook: lambda x: x.float()}):
        assert model.logits(tokens_BC).dtype == torch.bfloat16
    assert model.describe()["dtype"] == "bfloat16"
    assert model.describe()["fingerprint"] == exact.describe()["fingerprint"]
