"""Tiny models with random weights, one of every family, saved as ordinary Hugging Face folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

from lexiscope.lm.model import LanguageModel

WORDS = ["<pad>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", *(f"w{i}" for i in range(35))]
LLAMA = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
}
GEMMA = LLAMA | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4}
OPT = {
    "hidden_size": 16,
    "ffn_dim": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "word_embed_proj_dim": 16,
}
NEOX = LLAMA | {"rotary_pct": 0.5}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "image_size": 8,
    "patch_size": 4,
}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32}),
    "gpt_neox": ("gpt_neox", NEOX),
    "gpt_neox one after the other": ("gpt_neox", NEOX | {"use_parallel_residual": False}),
    "llama": ("llama", LLAMA),
    "mistral": ("mistral", LLAMA | {"sliding_window": 4}),
    "qwen2": ("qwen2", LLAMA),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 8}),
    "gemma": ("gemma", LLAMA | {"head_dim": 8}),
    "gemma2": ("gemma2", GEMMA | {"final_logit_softcapping": 30.0}),
    "gemma3": ("gemma3_text", GEMMA),
    "gemma3 with vision": ("gemma3", {"text_config": GEMMA, "vision_config": VISION, "mm_tokens_per_image": 4}),
    "phi": ("phi", LLAMA | {"num_key_value_heads": 2}),
    "phi3": ("phi3", LLAMA),
    "opt": ("opt", OPT),
    "opt like 350m": ("opt", OPT | {"word_embed_proj_dim": 8, "do_layer_norm_before": False}),
    # Families without a row.
    "bloom": ("bloom", {"hidden_size": 16, "n_layer": 3, "n_head": 2}),
    "gptj": ("gptj", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32, "rotary_dim": 4}),
    "mamba": ("mamba", {"hidden_size": 16, "num_hidden_layers": 3, "state_size": 4}),
}
STRANGERS = ("bloom", "gptj", "mamba")


def write_tokenizer(folder: Path, *, adds_bos: bool = True) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(WORDS[:3])
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **named}))


def write_model(folder: Path, kind: str, *, adds_bos: bool = True) -> Path:
    """A model with weights of a size at which a wrong norm, scale or order shows."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    model_type, settings = SETTINGS[kind]
    ids = {"vocab_size": len(WORDS), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if "text_config" in settings:
        settings = settings | {"text_config": settings["text_config"] | ids}
    config = CONFIG_MAPPING[model_type](**settings, **ids, tie_word_embeddings=False)
    module = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    for part in module.modules():
        if "norm" in type(part).__name__.lower() and "Gemma" not in type(part).__name__:
            part.weight.data.add_(1)
    module.save_pretrained(folder)
    write_tokenizer(folder, adds_bos=adds_bos)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny model by its key in SETTINGS; shared, so copy it before changing it."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_model(root / kind.replace(" ", "-"), kind)
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Callable[[str], Path]) -> Callable[[str], LanguageModel]:
    """Tiny model by its key in SETTINGS."""
    loaded: dict[str, LanguageModel] = {}

    def model(kind: str) -> LanguageModel:
        if kind not in loaded:
            loaded[kind] = LanguageModel(tiny_folder(kind))
        return loaded[kind]

    return model


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``every_model``: each tiny model; ``known_model``: those with a row; ``strange_model``: the others."""
    kinds = {
        "every_model": list(SETTINGS),
        "known_model": [kind for kind in SETTINGS if kind not in STRANGERS],
        "strange_model": list(STRANGERS),
    }
    for name, values in kinds.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values, indirect=True)


@pytest.fixture(scope="session")
def model_types() -> set[str]:
    """The ``model_type`` of every tiny model."""
    return {model_type for model_type, _ in SETTINGS.values()}


@pytest.fixture
def every_model(request: pytest.FixtureRequest, tiny: Callable[[str], LanguageModel]) -> LanguageModel:
    return tiny(request.param)


@pytest.fixture
def known_model(request: pytest.FixtureRequest, tiny: Callable[[str], LanguageModel]) -> LanguageModel:
    return tiny(request.param)


@pytest.fixture
def strange_model(request: pytest.FixtureRequest, tiny: Callable[[str], LanguageModel]) -> LanguageModel:
    return tiny(request.param)


@pytest.fixture
def tokens_BC() -> Tensor:
    """Two contexts of nine tokens, longer than the tiny models' sliding windows."""
    return torch.randint(3, len(WORDS), (2, 9), generator=torch.Generator().manual_seed(1))
