"""Oracle: ``output_hidden_states`` of the Hugging Face module itself, one context at a time."""

import json

import numpy as np
import pytest
import torch

from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.stream import ActivationStream
from lexiscope.lm.model import LanguageModel

from .conftest import BOS, FakeCorpus, byte_tokenizer

CONTEXT = 32
SHAPE = {"vocab_size": 257, "bos_token_id": BOS, "eos_token_id": BOS}
FAMILIES = {
    "gpt2": SHAPE | {"n_embd": 24, "n_layer": 3, "n_head": 2, "n_positions": CONTEXT},
    "llama": SHAPE
    | {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
    },
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **FAMILIES[request.param])).save_pretrained(
        folder
    )
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return LanguageModel(folder)


@pytest.fixture(scope="module")
def store(model, documents, tmp_path_factory):
    hooks = ["resid_post.0", "resid_post.1"]
    out = tmp_path_factory.mktemp("store") / "store"
    return harvest(
        model, FakeCorpus(documents), hooks, out=out, tokens=10**6, context=CONTEXT, batch=8, dtype="float32"
    )


def test_rows_equal_the_hidden_states_of_every_context_alone(model, store):
    compared = 0
    for context in range(int(store.contexts_T[-1]) + 1):
        rows = np.flatnonzero(store.contexts_T == context)
        tokens = torch.tensor([[BOS, *store.tokens_T[rows].tolist()]])
        with torch.no_grad():
            states = model.module(tokens, output_hidden_states=True).hidden_states
        for layer in (0, 1):
            stored_TD = store.rows(f"resid_post.{layer}", rows)
            torch.testing.assert_close(stored_TD, states[layer + 1][0, 1:], rtol=1e-4, atol=1e-5)
        compared += len(rows)
    assert compared == store.num_tokens > 3000


def test_every_document_is_there_and_decodes_to_its_text(model, store, documents):
    texts = {document.id: document.text for document in documents}
    for ordinal, info in enumerate(store.documents()):
        rows = np.flatnonzero(store.documents_T == ordinal)
        rows = rows[store.positions_T[rows].argsort()]
        decoded = model.tokenizer.decode(store.tokens_T[rows].tolist()).rstrip("\ufffd")
        assert texts[info.id].startswith(decoded)
        assert len(texts[info.id]) - len(decoded) < 4  # at most three tokens at the end make no context


def test_the_store_knows_its_model_and_refuses_another(model, store):
    store.check_model(model)
    assert store.artifact.manifest["sources"]["model"] == model.describe()


def test_the_stream_gives_the_same_statistics(model, store, documents):
    stream = ActivationStream(model, FakeCorpus(documents), ["resid_post.1"], context=CONTEXT, batch=8)
    live, disk = stream.statistics("resid_post.1"), store.statistics("resid_post.1")
    np.testing.assert_allclose(live.mean_D, disk.mean_D, atol=1e-6)
    assert live.tokens == disk.tokens


def test_a_batch_of_the_stream_can_be_trained_on(model, documents):
    """An inference-mode tensor would raise here."""
    stream = ActivationStream(model, FakeCorpus(documents), ["resid_post.1"], context=CONTEXT, batch=8)
    x_TD = next(stream.batches("resid_post.1", batch_tokens=64, seed=0, buffer_tokens=500))
    encoder = torch.nn.Linear(24, 5)
    encoder(x_TD).square().sum().backward()
    assert encoder.weight.grad.abs().sum() > 0
