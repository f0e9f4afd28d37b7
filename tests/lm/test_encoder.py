"""A sentence encoder. Oracle: transformers' BERT on one text at a time, nothing filled up, and the mean written out."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lexiscope.core.errors import InputError
from lexiscope.lm import encoder
from lexiscope.lm.encoder import SentenceEncoder

WORDS = "[PAD] [UNK] [CLS] [SEP] opening closing bracket quote a the of python name number".split()
TEXTS = ["opening bracket", "a", "the name of a python number " * 20, "", "closing quote [SEP] of", "zebra \u05d0"]


def write_encoder(folder, seed=0, *, with_pooler=True):
    """A BERT with random weights, and a tokenizer of whole words."""
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(3)  # what a file says of cutting is not followed
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=66,
        initializer_range=0.4,
        pad_token_id=0,
    )
    BertModel(config, add_pooling_layer=with_pooler).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoders") / "bert")


def test_vectors_are_the_means_of_one_text_at_a_time(folder, monkeypatch):
    from transformers import BertModel

    bert = BertModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    expected = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids[:64]
        with torch.no_grad():
            mean = bert(torch.tensor([ids])).last_hidden_state[0].mean(0)
        expected.append(mean / mean.norm())
    opened = SentenceEncoder(folder)
    assert opened.width == 32
    for at_once in (4096, 10):
        monkeypatch.setattr(encoder, "_TOKENS_AT_ONCE", at_once)
        monkeypatch.setattr(encoder, "_SORTED_TOGETHER", at_once)
        torch.testing.assert_close(opened.encode(TEXTS), torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert opened.encode([]).shape == (0, 32)


def test_without_what_classifiers_read(tmp_path, folder):
    bare = SentenceEncoder(write_encoder(tmp_path / "bare", with_pooler=False))
    assert bare.encode(["a name"]).isfinite().all()
    assert bare.fingerprint != SentenceEncoder(folder).fingerprint


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda at: (at / "model.safetensors").unlink(), "holds no model.safetensors"),
        (lambda at: (at / "config.json").write_text("{"), "config.json can't be read"),
        (lambda at: write_json(at / "config.json", {"model_type": "x", "auto_map": {"AutoModel": "x.y"}}), "never"),
        (lambda at: (at / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda at: write_json(at / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True}), "is not read by"),
        (
            lambda at: write_json(
                at / "config.json", json.loads((at / "config.json").read_text()) | {"hidden_size": 64}
            ),
            "no encoder that can be read",
        ),
        (
            lambda at: write_json(
                at / "config.json", json.loads((at / "config.json").read_text()) | {"num_hidden_layers": 10**6}
            ),
            "num_hidden_layers",
        ),
    ],
)
def test_what_is_no_encoder_is_refused_in_a_sentence(tmp_path, break_it, words):
    at = write_encoder(tmp_path / "broken")
    break_it(at)
    with pytest.raises(InputError) as error:
        SentenceEncoder(at)
    assert words in str(error.value)
    assert "; " in str(error.value)


def test_a_name_is_no_folder_and_nothing_is_fetched(tmp_path):
    with pytest.raises(InputError, match="no folder at"):
        SentenceEncoder("sentence-transformers/all-MiniLM-L6-v2")
    with pytest.raises(InputError, match=r"no config\.json"):
        SentenceEncoder(tmp_path)
