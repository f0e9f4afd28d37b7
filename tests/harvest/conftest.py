"""A small model, corpus and tokenizer with which every stored number can be computed by hand."""

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors

from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.layout import StoreConfig
from lexiscope.harvest.rows import Rows
from lexiscope.harvest.store import ActivationStore
from lexiscope.harvest.writer import StoreWriter
from lexiscope.text.document import Document
from lexiscope.text.tokenizer import FastTokenizer

BOS = 256


def byte_tokenizer():
    """One token per byte, and ``<s>``, which it puts first."""
    vocabulary = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<s>"])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return made


@pytest.fixture(scope="session")
def tokenizer():
    return FastTokenizer(byte_tokenizer(), bos_id=BOS)


class FakeModel:
    """A causal "model": an activation is a table row of the token plus the mean of those before it in the context.

    BOS has a massive activation, as in real models. Tokens in ``broken`` give NaN.
    """

    name, fingerprint, max_context, bos = "fake", "f" * 64, 64, "context"

    def __init__(self, tokenizer, widths):
        self.tokenizer = tokenizer
        self.broken = set()
        random = torch.Generator().manual_seed(7)
        self.tables = {
            HookPoint.parse(hook): torch.randn(257, width, generator=random) for hook, width in widths.items()
        }
        for table in self.tables.values():
            table[BOS] *= 1000
        self.forwards = 0

    def check(self, hook):
        if hook not in self.tables:
            raise InputError(f"fake has no {hook}")

    def width_at(self, hook):
        return self.tables[hook].shape[1]

    def read(self, tokens_BC, hooks, attention_BC=None):
        self.forwards += 1
        counts_C1 = torch.arange(1, tokens_BC.shape[1] + 1)[:, None]
        out = {}
        for hook in hooks:
            x_BCD = self.tables[hook][tokens_BC]
            # BOS is left out of the running mean, or its size would drown everything.
            quiet_BCD = x_BCD * (tokens_BC != BOS)[..., None]
            out[hook] = x_BCD + quiet_BCD.cumsum(1) / counts_C1
            for token in self.broken:
                out[hook][tokens_BC == token] = float("nan")
        return out

    def describe(self):
        return {"name": self.name, "fingerprint": self.fingerprint}


class FakeCorpus:
    def __init__(self, documents):
        self._documents = list(documents)
        self.read = 0

    def documents(self):
        for document in self._documents:
            self.read += 1
            yield document

    def describe(self):
        return {"source": "fake", "documents": self.read}


@pytest.fixture
def model(tokenizer):
    return FakeModel(tokenizer, {"resid_post.1": 12, "mlp_out.0": 5})


@pytest.fixture(scope="session")
def documents():
    """60 documents of 1 to 200 characters, some not ASCII, so that one character can be several tokens."""
    random = torch.Generator().manual_seed(1)
    alphabet = "abcdefgh \n(),é€\U0001f600"
    lengths = torch.randint(1, 200, (60,), generator=random).tolist()
    texts = ["".join(alphabet[i] for i in torch.randint(0, len(alphabet), (n,), generator=random)) for n in lengths]
    return [
        Document(f"fake:{number}", text, "code" if number % 3 else "prose", "MIT") for number, text in enumerate(texts)
    ]


@pytest.fixture
def corpus(documents):
    return FakeCorpus(documents)


def make_store(
    path, x_TD, *, hook="resid_post.1", dtype="bfloat16", shard_tokens=1000, documents_T=None, contexts_T=None
):
    """A store of given activations, written by the store's own writer, 100 rows at a time, without any model."""
    T, width = x_TD.shape
    documents_T = torch.arange(T) // 10 if documents_T is None else torch.as_tensor(documents_T)
    contexts_T = documents_T if contexts_T is None else torch.as_tensor(contexts_T)
    columns = {
        "tokens": torch.arange(T),
        "documents": documents_T,
        "positions": torch.arange(T),
        "contexts": contexts_T,
        "starts": torch.arange(T),
        "ends": torch.arange(T) + 1,
    }
    point = HookPoint.parse(hook)
    named = {ordinal: Document(f"planted:{ordinal}", "", "code", "MIT") for ordinal in set(documents_T.tolist())}
    config = StoreConfig(
        hooks=(hook,), dtype=dtype, context=64, batch=4, tokens=T, shard_tokens=shard_tokens
    ).model_dump(mode="json")
    torch_dtype = getattr(torch, dtype)
    with write_artifact(path, "store", config=config) as draft:
        writer = StoreWriter(draft.path, {point: width}, torch_dtype, shard_tokens)
        for start in range(0, T, 100):
            part = slice(start, start + 100)
            rows = {name: column[part].to(torch.int32) for name, column in columns.items()}
            writer.append(Rows({point: x_TD[part].to(torch_dtype)}, rows, named))
        draft.notes |= writer.finish()[0]
    return ActivationStore.open(path)
