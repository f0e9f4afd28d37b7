"""Oracles: Python's own UTF-8 codec says which characters the bytes of a token belong to; the text itself is what
decoding must give back."""

import itertools
import json
import re

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from lexiscope.text.tokenizer import FastTokenizer

HARD = [
    "naïve café",
    "👩‍👩‍👧 e\u0301te\u0301",
    " the  cat\n\n\tsat ",
    "日本語 the 🏳️‍🌈",
    "\ufeffthe",
    "a\u0301\u0301\u0301b",
]


def spans_by_bytes(text, byte_lengths):
    """The characters that each token touches, from the number of bytes in it."""
    character_of_byte = [number for number, character in enumerate(text) for _ in character.encode()]
    ends = list(itertools.accumulate(byte_lengths))
    return [
        (character_of_byte[end - length], character_of_byte[end - 1] + 1)
        for length, end in zip(byte_lengths, ends, strict=True)
    ]


def byte_length(pipeline, number):
    return len(pipeline.id_to_token(number))  # one character of the byte-level alphabet per byte


@pytest.mark.parametrize("text", HARD)
def test_spans_are_the_characters_of_the_bytes(tokenizer, pipeline, text):
    ids, starts, ends = tokenizer.encode(text)
    assert list(zip(starts, ends, strict=True)) == spans_by_bytes(text, [byte_length(pipeline, id_) for id_ in ids])
    assert tokenizer.decode(ids) == text


@given(text=st.text(max_size=60))
def test_spans_and_decoding_of_any_text(tokenizer, pipeline, text):
    ids, starts, ends = tokenizer.encode(text)
    assert list(zip(starts, ends, strict=True)) == spans_by_bytes(text, [byte_length(pipeline, id_) for id_ in ids])
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_many([text, text]) == [(ids, starts, ends)] * 2


@given(text=st.text(max_size=60).filter(lambda text: "\\" not in text))
def test_pieces_spell_the_text(tokenizer, text):
    r"""A piece is the text of its span, unless the token holds only some bytes of a character; then it is ``\xNN``."""
    ids, starts, ends = tokenizer.encode(text)
    pieces = [tokenizer.piece(number) for number in ids]
    spelt = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), "".join(pieces).encode())
    assert spelt == text.encode()
    for piece, start, end in zip(pieces, starts, ends, strict=True):
        assert "\\x" in piece or piece == text[start:end]


def test_pieces_are_real_characters(tokenizer):
    pieces = {tokenizer.piece(number) for number in range(tokenizer.vocab_size)}
    assert {" the", "\n", " ", "\\xff", "<bos>"} <= pieces
    assert not any("Ġ" in piece or "Ċ" in piece for piece in pieces)


def test_no_special_tokens_are_added_or_read(tokenizer):
    ids = tokenizer.encode("<bos>the cat<eos>").ids
    assert not tokenizer.special_ids & set(ids)
    assert tokenizer.decode(ids) == "<bos>the cat<eos>"


def test_the_callers_pipeline_is_left_alone(pipeline):
    before = pipeline.to_str()
    FastTokenizer(pipeline, bos_id=0).encode("<bos> the")
    assert pipeline.to_str() == before
    assert pipeline.encode("<bos>").ids == [0]


def test_truncation_padding_and_post_processing_are_dropped(pipeline):
    strict = tokenizers.Tokenizer.from_str(pipeline.to_str())
    strict.enable_truncation(2)
    strict.enable_padding(length=50)
    strict.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    assert FastTokenizer(strict).encode("the cat sat") == FastTokenizer(pipeline).encode("the cat sat")


def test_fingerprint_follows_vocabulary_and_special_ids(pipeline):
    one = FastTokenizer(pipeline, bos_id=0)
    assert one.fingerprint == FastTokenizer(tokenizers.Tokenizer.from_str(pipeline.to_str()), bos_id=0).fingerprint
    assert one.fingerprint != FastTokenizer(pipeline).fingerprint
    bigger = tokenizers.Tokenizer.from_str(pipeline.to_str())
    bigger.add_tokens(["zebra"])
    assert one.fingerprint != FastTokenizer(bigger, bos_id=0).fingerprint
    assert FastTokenizer(bigger).vocab_size == one.vocab_size + 1
    assert FastTokenizer(bigger).piece(one.vocab_size) == "zebra"


def test_pad_id_falls_back(pipeline):
    assert FastTokenizer(pipeline, bos_id=0, eos_id=1, pad_id=7).pad_id == 7
    assert FastTokenizer(pipeline, bos_id=1).pad_id == 1
    assert FastTokenizer(pipeline).pad_id == 0
    assert FastTokenizer(pipeline, pad_id=7).special_ids == {0, 1, 7}


def test_spans_survive_unicode_normalisation(pipeline):
    """A normaliser that composes e + accent: spans still count the characters of the text as it was given."""
    composing = tokenizers.Tokenizer.from_str(pipeline.to_str())
    composing.normalizer = normalizers.NFC()
    text = "e\u0301 the"
    _, starts, ends = FastTokenizer(composing).encode(text)
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)][-1] == " the"
    assert (starts[0], ends[0]) == (0, 2)


def test_sentencepiece_style():
    """Llama's way: ▁ for a space and <0xNN> for bytes outside the vocabulary."""
    pipeline = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    pipeline.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    reserved = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=reserved, show_progress=False)
    pipeline.train_from_iterator(["the cat sat on the mat"] * 9, trainer)
    plain = json.loads(pipeline.to_str()) | {"added_tokens": []}
    tokenizer = FastTokenizer(tokenizers.Tokenizer.from_str(json.dumps(plain)))
    text = "the cat é"
    ids, starts, ends = tokenizer.encode(text)
    assert [tokenizer.piece(number) for number in ids] == [" the", " cat", " ", "\\xc3", "\\xa9"]
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)] == ["the", " cat", " ", "é", "é"]
    assert tokenizer.decode(ids) == text
