"""Tokenizer: text to token ids with character spans, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import tokenizers


class Encoded(NamedTuple):
    """The tokens of one text. Token ``i`` covers ``text[starts[i]:ends[i]]``, in characters.

    A token that holds only some bytes of a character covers that whole character, as do its neighbours with the others.
    """

    ids: list[int]
    starts: list[int]
    ends: list[int]


class Tokenizer(Protocol):
    """What the rest of the package needs of a tokenizer. No method adds special tokens."""

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int
    special_ids: frozenset[int]
    fingerprint: str

    def encode(self, text: str) -> Encoded: ...

    def encode_many(self, texts: list[str]) -> list[Encoded]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def piece(self, id: int) -> str:  # noqa: A002
        r"""One token as a reader should see it: real spaces and line breaks, a broken character as ``\xNN``."""
        ...


class FastTokenizer:
    """A tokenizer of the ``tokenizers`` library.

    Works on its own copy: no truncation, no padding, no post-processing (which adds special tokens and, in some, trims
    spaces off the spans). Text that spells a special token, such as ``<|endoftext|>``, is read as plain text.

    Args:
        tokenizer: any pipeline of the library.
        bos_id, eos_id, pad_id: None where the model has none; a missing ``pad_id`` falls back to EOS, BOS, 0.
        special_ids: further ids that are not text.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        *,
        bos_id: int | None = None,
        eos_id: int | None = None,
        pad_id: int | None = None,
        special_ids: Iterable[int] = (),
    ) -> None:
        pipeline = json.loads(tokenizer.to_str())
        pipeline |= {"truncation": None, "padding": None, "post_processor": None}
        canonical = json.dumps(pipeline, sort_keys=True)
        self._tokenizer = tokenizers.Tokenizer.from_str(canonical)
        self._tokenizer.encode_special_tokens = True
        self._normalizes = pipeline["normalizer"] is not None
        self._byte_level = "ByteLevel" in json.dumps([pipeline["pre_tokenizer"], pipeline["decoder"]])
        self.vocab_size: int = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.bos_id = bos_id
        self.eos_id = eos_id
        self.pad_id: int = next((given for given in (pad_id, eos_id, bos_id) if given is not None), 0)
        named = {given for given in (bos_id, eos_id, pad_id) if given is not None}
        added = self._tokenizer.get_added_tokens_decoder()
        special = {number for number, token in added.items() if token.special}
        self._verbatim = {number: token.content for number, token in added.items()}
        self.special_ids = frozenset(named | special | set(special_ids))
        identity = json.dumps([canonical, bos_id, eos_id, pad_id, sorted(self.special_ids)])
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()

    def encode(self, text: str) -> Encoded:
        return self._encoded(text, self._tokenizer.encode(text, add_special_tokens=False))

    def encode_many(self, texts: list[str]) -> list[Encoded]:
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [self._encoded(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def piece(self, id: int) -> str:  # noqa: A002
        if id in self._verbatim:
            return str(self._verbatim[id])
        token = self._tokenizer.id_to_token(id)
        if token is None:
            return f"<unused {id}>"
        if self._byte_level and all(character in self._bytes for character in token):
            return bytes(self._bytes[character] for character in token).decode("utf-8", "backslashreplace")
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes.fromhex(token[3:5]).decode("utf-8", "backslashreplace")
        return str(token).replace("▁", " ")

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """GPT-2's alphabet, character → byte: printable Latin-1 stands for itself, the others are moved above 255."""
        printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
        moved = [byte for byte in range(256) if byte not in printable]
        return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(moved)}

    def _encoded(self, text: str, encoding: Any) -> Encoded:
        offsets = encoding.offsets  # built anew at every access
        starts = [start for start, _ in offsets]
        ends = [end for _, end in offsets]
        if self._normalizes:
            _close_gaps(text, starts, ends)
        return Encoded(encoding.ids, starts, ends)


def _close_gaps(text: str, starts: list[int], ends: list[int]) -> None:
    """Give characters between two tokens, other than white space, to the first of them, in place.

    The library's span of an e and an accent that a normaliser made one character is that of the e alone.
    """
    limit = len(text)
    for token in reversed(range(len(ends))):
        if token + 1 < len(ends) and starts[token + 1] >= ends[token]:
            limit = starts[token + 1]
        while ends[token] < limit and not text[ends[token]].isspace():
            ends[token] += 1
