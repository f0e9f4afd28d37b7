"""What the demo model must be able to do: indirect objects with unseen names, agreement, induction."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from tokenizers import Tokenizer
from torch import Tensor

from lexiscope.text.generators import agreement, indirect_objects
from lexiscope.text.generators._words import AUXILIARIES, HELD_OUT_NAMES

Logits = Callable[[Tensor], Tensor]
"""Tokens [B, C] to logits [B, C, V]."""


@torch.no_grad()
def last_logits(logits: Logits, tokenizer: Tokenizer, prompts: list[str], boundary: int) -> Tensor:
    """Logits after each prompt, [N, V]; prompts are padded on the right."""
    rows = [[boundary, *tokenizer.encode(prompt).ids] for prompt in prompts]
    out = []
    for start in range(0, len(rows), 64):
        chunk = rows[start : start + 64]
        longest = max(map(len, chunk))
        tokens = torch.tensor([row + [boundary] * (longest - len(row)) for row in chunk])
        ends = torch.tensor([len(row) - 1 for row in chunk])
        out.append(logits(tokens)[torch.arange(len(chunk)), ends].float())
    return torch.cat(out)


def contrast(logits: Logits, tokenizer: Tokenizer, boundary: int, items: list[tuple[str, str, str]]) -> float:
    """Share of (prompt, right, wrong) in which the right continuation has the higher logit.

    Continuations are compared at the first token in which they differ, after the tokens they share.
    """
    prompts, pairs = [], []
    for prompt, right, wrong in items:
        a, b = tokenizer.encode(right).ids, tokenizer.encode(wrong).ids
        shared = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        if shared is None:
            continue
        prompts.append(prompt + tokenizer.decode(a[:shared]) if shared else prompt)
        pairs.append((a[shared], b[shared]))
    scores = last_logits(logits, tokenizer, prompts, boundary)
    right_ids, wrong_ids = torch.tensor(pairs).T
    rows = torch.arange(len(pairs))
    return (scores[rows, right_ids] > scores[rows, wrong_ids]).float().mean().item()


def indirect_object_items(count: int, names: list[str], seed: int = 7) -> list[tuple[str, str, str]]:
    """Single sentences about people with these names."""
    rng = random.Random(seed)
    made = [indirect_objects.sentence(rng, rng.sample(names, 2)) for _ in range(count)]
    return [(item.prompt, f" {item.indirect_object}", f" {item.subject}") for item in made]


def agreement_items(count: int, seed: int = 7) -> list[tuple[str, str, str]]:
    """Subjects with the auxiliary of the right and of the wrong number."""
    rng = random.Random(seed)
    items = []
    for _ in range(count):
        made = agreement.phrase(rng)
        plural, singular = rng.choice(list(AUXILIARIES.items()))
        right, wrong = (plural, singular) if made.plural else (singular, plural)
        items.append((made.prompt, f" {right}", f" {wrong}"))
    return items


@torch.no_grad()
def induction(logits: Logits, vocabulary: int, boundary: int, seed: int = 7) -> tuple[float, float]:
    """Mean loss in nats on the first and on the second run of a sequence of 60 random tokens."""
    tokens = torch.randint(300, vocabulary, (16, 60), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([torch.full((16, 1), boundary), tokens, tokens], 1)
    losses = torch.nn.functional.cross_entropy(
        logits(rows)[:, :-1].float().transpose(1, 2), rows[:, 1:], reduction="none"
    )
    return losses[:, 1:60].mean().item(), losses[:, 61:].mean().item()


def report(logits: Logits, tokenizer: Tokenizer, boundary: int, count: int) -> dict[str, float]:
    """All of the above."""
    first, second = induction(logits, tokenizer.get_vocab_size(), boundary)
    return {
        "indirect_objects": contrast(logits, tokenizer, boundary, indirect_object_items(count, HELD_OUT_NAMES)),
        "agreement": contrast(logits, tokenizer, boundary, agreement_items(count)),
        "induction_first": first,
        "induction_second": second,
    }
