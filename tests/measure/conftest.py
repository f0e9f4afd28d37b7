"""A tiny random GPT-2 with a tokenizer of its own, a corpus of generated pages and source, and a store of both."""

from __future__ import annotations

import pytest
import tokenizers
import torch
import transformers
from tokenizers import decoders, pre_tokenizers, trainers

from lexiscope.harvest.harvest import harvest
from lexiscope.lm.model import LanguageModel
from lexiscope.text import generators
from lexiscope.text.corpus import Corpus

HOOK = "resid_post.1"


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    pages = [page for name in generators.names() for page, _ in zip(generators.pages(name, 1), range(30), strict=False)]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(pages, trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=600, n_positions=64, n_embd=24, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0
    )
    config.initializer_range = 0.3  # so that replacing an activation changes what is predicted
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return LanguageModel(folder)


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A folder of small files: 240 generated pages and 60 pieces of source."""
    folder = tmp_path_factory.mktemp("text")
    for number, page in zip(range(240), generators.pages("indirect_objects", 2), strict=False):
        (folder / f"page{number}.txt").write_text(page)
    for number in range(60):
        lines = [f"def f{i}(self, x={i}):\n    return self.y + {number + i}  # sum\n" for i in range(8)]
        (folder / f"source{number}.py").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="session")
def store(model, source, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "store"
    return harvest(model, Corpus(source), [HOOK], out=out, tokens=20_000, context=32, batch=16, dtype="float32")
