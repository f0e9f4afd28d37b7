"""Checks: what a model can be given. B contexts, C tokens per context."""

from __future__ import annotations

from torch import Tensor

from lexiscope.core.errors import InputError


def check_tokens(
    tokens_BC: Tensor, attention_BC: Tensor | None, name: str, *, vocab_size: int, max_context: int
) -> None:
    """Say no to tokens that a model can't take.

    Args:
        attention_BC: True for every token but padding.
        name: what the model is called in a message.

    Raises:
        InputError: the message says what is wrong with them.
    """
    if tokens_BC.ndim != 2 or tokens_BC.numel() == 0 or tokens_BC.is_floating_point():
        raise InputError(f"tokens have shape {list(tokens_BC.shape)}; give integers of shape [contexts, tokens]")
    if tokens_BC.shape[1] > max_context:
        raise InputError(
            f"contexts of {tokens_BC.shape[1]} tokens are longer than the {max_context} that {name} has positions for; "
            "choose a shorter context"
        )
    low, high = (int(limit) for limit in tokens_BC.aminmax())
    if low < 0 or high >= vocab_size:
        raise InputError(
            f"token {low if low < 0 else high} is not among the {vocab_size} of {name}; encode the text with this "
            "model's tokenizer"
        )
    if attention_BC is not None and bool((attention_BC[:, 1:] > attention_BC[:, :-1]).any()):
        raise InputError("a context has padding before its tokens; pad it on the right")
