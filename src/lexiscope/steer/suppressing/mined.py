"""Mined prompts: places in real text at which a model goes on in a way that is not wanted, and how often it does.

What is not wanted is told by a pattern of characters, such as that of a link. A prompt is the text before a match, none
of an earlier match in it, kept where the model's likeliest next token begins a match and no prompt before it ended in
the same words. The honest answer is the likeliest token that begins none. Beside it stands the text of as many tokens
that ends some tokens earlier, where the model goes on in another way: that has to stay as it is.

The forms are what the text before a match ends with, so that prompts of some forms can be held out.
P prompts, C tokens per prompt, V vocabulary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.index.live.contexts import Contexts
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.effects.intervals import Share, share_of
from lexiscope.text.document import Document, whole_id
from lexiscope.text.pack import TokenBatch

LENGTH = 48
"""Tokens of a prompt: all have as many, so that they are written on together."""
EARLIER = 12
"""Tokens by which what stands beside a prompt ends before it."""
_AT_ONCE = 64
_MOST_CHARACTERS = 12 * LENGTH
_MOST_LOOKED_AT = 50


class Unwanted(NamedTuple):
    """What a model is to leave off."""

    pattern: re.Pattern[str]
    """Fits all of it."""
    openings: frozenset[str]
    """Tokens that begin it, without the space in front."""


class Mined(NamedTuple):
    """A place at which it comes."""

    document: str
    form: str
    text: str
    honest: str
    planted: str
    """The token that the model says."""
    without: str
    """The text that ends some tokens earlier."""
    goes_on: str
    """What the model says there."""

    @property
    def kept(self) -> Mined:
        """What has to stay as it is, as a prompt."""
        return self._replace(text=self.without, honest=self.goes_on)


class _Lead(NamedTuple):
    document: str
    form: str
    tokens: list[int]


def mine(
    model: LanguageModel,
    documents: Iterable[Document],
    unwanted: Unwanted,
    forms: Mapping[str, re.Pattern[str]],
    *,
    per_document: int = 2,
) -> Iterator[Mined]:
    """Prompts, in the order of the text.

    Args:
        forms: name to what the text before a match ends with; the first that fits counts, what fits none is left out.
        per_document: the most of each form from one document, since those are not independent.

    Raises:
        InputError: no token of the model is an opening.
    """
    openings = _openings(model, unwanted)
    leads = _once(
        lead for document in documents for lead in _leads(model, document, unwanted.pattern, forms, per_document)
    )
    while part := list(islice(leads, _AT_ONCE)):
        ends = [[lead.tokens[at : at + LENGTH] for lead in part] for at in (EARLIER, 0)]
        for lead, last_V, earlier_V in zip(part, *(_next(model, texts) for texts in ends), strict=True):
            said, before = int(last_V.argmax()), int(earlier_V.argmax())
            if said not in openings or before in openings:
                continue
            honest = _likeliest(model, last_V, openings)
            goes_on = _likeliest(model, earlier_V, openings)
            parts = [lead.tokens[EARLIER:], lead.tokens[:LENGTH], [said]]
            text, without, planted = texts = [model.tokenizer.decode(tokens) for tokens in parts]
            same = [model.tokenizer.encode(one).ids for one in texts] == parts
            if same and honest is not None and goes_on is not None:
                yield Mined(lead.document, lead.form, text, honest, planted, without, goes_on)


def goes_on(
    model: LanguageModel, prompts: Sequence[Mined], *, new_tokens: int, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """What the model writes after each prompt, up to the end that it puts. Temperature 0 takes the likeliest tokens."""
    special = model.tokenizer.special_ids
    written = []
    for start in range(0, len(prompts), _AT_ONCE):
        part = prompts[start : start + _AT_ONCE]
        contexts = Contexts.of(model, [model.tokenizer.encode(prompt.text).ids for prompt in part])
        new_PC = model.generate_tokens(
            contexts.tokens_BC, max_new_tokens=new_tokens, temperature=temperature, seed=seed + start
        )
        for prompt, new in zip(part, new_PC.tolist(), strict=True):
            end = next((place for place, token in enumerate(new) if token in special), len(new))
            whole = model.tokenizer.decode([*model.tokenizer.encode(prompt.text).ids, *new[:end]])
            written.append(whole[len(prompt.text) :])
    return written


def share_with(texts: Iterable[str], unwanted: Unwanted) -> Share:
    """Of texts, those with something unwanted in them."""
    return share_of([unwanted.pattern.search(text) is not None for text in texts])


def apart_from(batches: Iterable[TokenBatch], unwanted: Unwanted) -> list[TokenBatch]:
    """The same text, where tokens of what is unwanted are read but do not count for a loss."""
    return [replace(batch, mask_BC=batch.mask_BC & ~_unwanted(batch, unwanted.pattern)) for batch in batches]


def _unwanted(batch: TokenBatch, pattern: re.Pattern[str]) -> Tensor:
    inside_BC = torch.zeros_like(batch.mask_BC)
    for number, document in batch.documents.items():
        of_document_BC = batch.documents_BC == number
        for match in pattern.finditer(document.text):
            inside_BC |= of_document_BC & (batch.starts_BC < match.end()) & (batch.ends_BC > match.start())
    return inside_BC


def _openings(model: LanguageModel, unwanted: Unwanted) -> set[int]:
    pieces = ((token, model.tokenizer.decode([token]).strip()) for token in range(model.vocab_size))
    found = {token for token, piece in pieces if piece in unwanted.openings}
    if not found:
        raise InputError(f"no token of {model.name} is one of {sorted(unwanted.openings)}; look at its tokens")
    return found


def _leads(
    model: LanguageModel,
    document: Document,
    pattern: re.Pattern[str],
    forms: Mapping[str, re.Pattern[str]],
    per_document: int,
) -> Iterator[_Lead]:
    """The text before each match, as tokens: of a prompt and before it."""
    start, seen = 0, Counter[str]()
    for match in pattern.finditer(document.text):
        before = document.text[start : match.start()].removesuffix(" ")  # the space belongs to the next token
        start = match.end()
        form = next((name for name, end in forms.items() if end.search(before)), None)
        if form is None or seen[form] == per_document:
            continue
        tokens = model.tokenizer.encode(before[-_MOST_CHARACTERS:]).ids[-LENGTH - EARLIER :]
        if len(tokens) == LENGTH + EARLIER:
            seen[form] += 1
            yield _Lead(whole_id(document.id), form, tokens)


def _once(leads: Iterable[_Lead]) -> Iterator[_Lead]:
    """Only the first of those that end in the same words."""
    seen = set()
    for lead in leads:
        end = tuple(lead.tokens[-EARLIER:])
        if end not in seen:
            seen.add(end)
            yield lead


@torch.no_grad()
def _next(model: LanguageModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """Logits after each of some texts of one length, [P, V]."""
    contexts = Contexts.of(model, texts)
    return model.logits(contexts.tokens_BC, contexts.attention_BC)[:, -1].float().cpu()


def _likeliest(model: LanguageModel, logits_V: Tensor, openings: set[int]) -> str | None:
    """The likeliest token, as text, that begins nothing unwanted and is read again as itself."""
    for token in logits_V.topk(_MOST_LOOKED_AT).indices.tolist():
        text = model.tokenizer.decode([token])
        if token not in openings | set(model.tokenizer.special_ids) and model.tokenizer.encode(text).ids == [token]:
            return text
    return None
