"""Oracles: a plain-Python packer written from the rules, token by token, and a tokenizer of one token per character."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lexiscope.core.errors import InputError
from lexiscope.text.document import Document
from lexiscope.text.pack import PackReport, pack
from lexiscope.text.tokenizer import Encoded

BOS, PAD, SPECIAL = 1, 0, 2


class Characters:
    """Token = code point; "!" is special."""

    vocab_size = 0x110000
    bos_id = BOS
    eos_id = None
    pad_id = PAD
    special_ids = frozenset({BOS, PAD, ord("!")})
    fingerprint = "characters"

    def encode(self, text):
        return Encoded([ord(c) for c in text], list(range(len(text))), list(range(1, len(text) + 1)))

    def encode_many(self, texts):
        return [self.encode(text) for text in texts]

    def decode(self, ids):
        return "".join(map(chr, ids))

    def piece(self, id):  # noqa: A002
        return chr(id)


def documents(*texts):
    return [Document(f"test:{number}", text, "prose", "CC0-1.0") for number, text in enumerate(texts)]


def rows(batches):
    """Every context as a list of (id, document, position, start, end), padding cut off."""
    found = []
    for batch in batches:
        table = torch.stack(
            [batch.tokens_BC, batch.documents_BC, batch.positions_BC, batch.starts_BC, batch.ends_BC], dim=-1
        )
        for row, attention in zip(table.tolist(), batch.attention_BC.tolist(), strict=True):
            length = sum(attention)
            assert attention == [True] * length + [False] * (len(row) - length), "padding is on the right"
            assert all(token == [PAD, -1, -1, -1, -1] for token in row[length:])
            found.append([tuple(token) for token in row[:length]])
    return found


def reference(texts, *, context, bos, cross_documents, min_tokens):
    """The same contexts made one token at a time, in reading order; and the number of tokens dropped."""
    mark = (BOS, -1, -1, -1, -1)
    streams = [[]]
    for ordinal, text in enumerate(texts):
        if not cross_documents:
            streams.append([])
        if bos == "document" and text:
            streams[-1].append(mark)
        for position, character in enumerate(text):
            streams[-1].append((ord(character), ordinal, position, position, position + 1))
    contexts, dropped = [], 0
    for stream in streams:
        while stream:
            piece = [mark] if bos == "context" else []
            while stream and len(piece) < context:
                piece.append(stream.pop(0))
            text_tokens = sum(token != mark for token in piece)
            if text_tokens < min_tokens:
                dropped += text_tokens
            else:
                contexts.append(piece)
    return contexts, dropped


settings = st.fixed_dictionaries(
    {
        "context": st.integers(4, 12),
        "bos": st.sampled_from(["context", "document", "never"]),
        "cross_documents": st.booleans(),
        "min_tokens": st.integers(1, 3),
    }
)
texts = st.lists(st.text(alphabet="abc!é👩", max_size=40), max_size=12)


@given(texts=texts, settings=settings, batch=st.integers(1, 5))
def test_same_contexts_as_the_reference(texts, settings, batch):
    report = PackReport()
    batches = list(pack(documents(*texts), Characters(), batch=batch, report=report, **settings))
    expected, dropped = reference(texts, **settings)
    found = rows(batches)
    assert sorted(found) == sorted(expected)
    assert report.dropped_tokens == dropped
    assert report.contexts == len(expected)
    assert report.tokens == sum(token[1] >= 0 for row in found for token in row)
    assert report.tokens + report.dropped_tokens == sum(map(len, texts))
    assert report.padding_tokens == sum(int((~item.attention_BC).sum()) for item in batches)


@given(texts=texts, settings=settings)
def test_batch_size_changes_the_grouping_only(texts, settings):
    contexts = [sorted(rows(pack(documents(*texts), Characters(), batch=batch, **settings))) for batch in (1, 3, 1000)]
    assert contexts[0] == contexts[1] == contexts[2]


@given(texts=texts, settings=settings, batch=st.integers(1, 5))
def test_rules_that_hold_for_every_batch(texts, settings, batch):
    for item in pack(documents(*texts), Characters(), batch=batch, **settings):
        B, C = item.tokens_BC.shape
        assert batch >= B
        assert settings["context"] >= C
        assert item.attention_BC.any(dim=0).all(), "as narrow as its longest context"
        assert set(item.documents_BC.unique().tolist()) - {-1} == set(item.documents)
        for ordinal, document in item.documents.items():
            assert document.id == f"test:{ordinal}"
        text_BC = item.documents_BC >= 0
        special_BC = torch.isin(item.tokens_BC, torch.tensor(sorted(Characters.special_ids)))
        assert torch.equal(item.mask_BC, text_BC & ~special_BC)
        for b, c in itertools.product(range(B), range(C)):
            if text_BC[b, c]:
                text = item.documents[int(item.documents_BC[b, c])].text
                assert text[int(item.starts_BC[b, c]) : int(item.ends_BC[b, c])] == chr(int(item.tokens_BC[b, c]))
            elif item.attention_BC[b, c]:
                assert item.tokens_BC[b, c] == BOS
                assert settings["bos"] != "never"
                assert c == 0 or (settings["bos"] == "document" and settings["cross_documents"])
        if not settings["cross_documents"]:
            for row in item.documents_BC:
                assert len(set(row.tolist()) - {-1}) == 1


def test_types_and_shapes():
    (batch,) = pack(documents("abcdefgh", "abcde"), Characters(), context=16, batch=4)
    assert batch.tokens_BC.dtype == torch.int64
    for tensor in (batch.documents_BC, batch.positions_BC, batch.starts_BC, batch.ends_BC):
        assert tensor.dtype == torch.int32
    assert batch.mask_BC.dtype == batch.attention_BC.dtype == torch.bool
    assert batch.tokens_BC.shape == (2, 9)


def test_similar_lengths_share_a_batch():
    texts = ["a" * (4 + 40 * (number % 2)) for number in range(64)]
    report = PackReport()
    list(pack(documents(*texts), Characters(), context=64, batch=8, report=report))
    assert report.padding_tokens == 0


def test_reading_order_is_kept_within_a_batch():
    """Lengths alternate, so that sorting by length alone would move contexts about."""
    texts = ["a" * length for length in [9, 5, 8, 6, 7, 9, 5, 8]]
    (batch,) = pack(documents(*texts), Characters(), context=16, batch=8)
    assert batch.documents_BC[:, 1].tolist() == list(range(8))


def test_reads_ahead_no_further_than_it_must():
    """An endless stream of documents gives batches."""
    endless = (document for number in itertools.count() for document in documents("abcdefgh" * 500))
    batches = pack(endless, Characters(), context=64, batch=2)
    assert next(batches).tokens_BC.shape == (2, 64)


def test_real_tokenizer_spans(tokenizer):
    text = "the cat 👩 sat e\u0301 on café\n" * 3
    (batch,) = pack(documents(text), tokenizer, context=512, batch=1)
    for number, start, end in zip(batch.tokens_BC[0], batch.starts_BC[0], batch.ends_BC[0], strict=True):
        piece = tokenizer.piece(int(number))
        assert start == -1 or "\\x" in piece or text[start:end] == piece


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": 4, "batch": 1}, "too short"),
        ({"context": 8, "batch": 0}, "at least 1"),
        ({"context": 8, "batch": 1, "min_tokens": 0}, "at least 1"),
        ({"context": 8, "batch": 1, "bos": "always"}, "bos must be"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        pack([], Characters(), **settings)


def test_bos_needs_a_bos_token():
    class NoBos(Characters):
        bos_id = None

    with pytest.raises(InputError, match="no BOS"):
        pack([], NoBos(), context=8, batch=1)
    assert list(pack(documents("abcdefgh"), NoBos(), context=8, batch=1, bos="never"))
