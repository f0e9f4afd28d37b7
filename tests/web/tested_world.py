"""Pairs of prompts that the synthetic world's model tells apart: what it says next depends on the last word alone."""

from __future__ import annotations

import sys
from typing import Any

import torch

worlds = sys.modules["index_world"]
FEATURE = 4
"""Fires on an opening parenthesis, which the prompts end in and the others do not."""
NAMES = ["area", "width", "height", "self", "text", "words", "line", "chunk", "json", "indent"]


def pairs(world: Any) -> list[dict[str, str]]:
    """The answers are the tokens whose logits differ most."""
    model = worlds.Model(world)
    tokenizer = model.tokenizer
    gaps = [end_of(model, f"{name} (") - end_of(model, f"{name},") for name in NAMES]
    gap_V = torch.stack(gaps).mean(0)
    gap_V[[token for token, piece in enumerate(tokenizer.pieces) if tokenizer.encode(piece).ids != [token]]] = 0
    answer, other = tokenizer.piece(int(gap_V.argmax())), tokenizer.piece(int(gap_V.argmin()))
    return [
        {"prompt": f"{name} (", "answer": answer, "other_prompt": f"{name},", "other_answer": other} for name in NAMES
    ]


def end_of(model: Any, text: str) -> torch.Tensor:
    """Logits after the last token."""
    return model.logits(torch.tensor([model.tokenizer.encode(text).ids]))[0, -1]
