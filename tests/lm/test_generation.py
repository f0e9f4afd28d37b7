"""Generation, against a loop of whole forward passes and against transformers' own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel

Tiny = Callable[[str], LanguageModel]


def greedy(model: LanguageModel, tokens_BC: Tensor, steps: int) -> Tensor:
    """The likeliest next token, taken from the logits of the whole text each time."""
    text_BC = tokens_BC
    for _ in range(steps):
        text_BC = torch.cat([text_BC, model.logits(text_BC)[:, -1:].argmax(-1)], dim=1)
    return text_BC[:, tokens_BC.shape[1] :]


@pytest.fixture
def endless(every_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """The same model without an end-of-text token."""
    monkeypatch.setattr(every_model, "_end_ids", set)
    return every_model


@pytest.mark.parametrize("cache", [True, False])
def test_greedy_text_under_a_splice(endless: LanguageModel, tokens_BC: Tensor, cache: bool) -> None:
    plain = endless.generate_tokens(tokens_BC, max_new_tokens=6, cache=cache)
    assert torch.equal(plain, greedy(endless, tokens_BC, 6))
    push_D = torch.randn(endless.width, generator=torch.Generator().manual_seed(0)) * 5
    with endless.splice({HookPoint("resid_post", 1): lambda x_BCD: x_BCD + push_D}):
        pushed = endless.generate_tokens(tokens_BC, max_new_tokens=6, cache=cache)
        assert torch.equal(pushed, greedy(endless, tokens_BC, 6))
    assert not torch.equal(pushed, plain)


def test_splice_works_in_the_generate_of_transformers(known_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: our loop under the same splice; transformers keeps a cache of its own."""
    with known_model.splice({HookPoint("attn_out", 1): lambda x_BCD: 3 * x_BCD}):
        ours = known_model.generate_tokens(tokens_BC, max_new_tokens=5)
        theirs = known_model.module.generate(tokens_BC, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert torch.equal(theirs[:, tokens_BC.shape[1] :], ours)


def test_a_context_that_ended_is_padded(tiny: Tiny, tokens_BC: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the unending text, cut behind a token that is then declared the end."""
    model = tiny("llama")
    monkeypatch.setattr(model, "_end_ids", set)
    free = model.generate_tokens(tokens_BC, max_new_tokens=8)
    place = next(place for place in range(1, 8) if free[0, place] not in free[0, :place])
    end = int(free[0, place])
    monkeypatch.setattr(model, "_end_ids", lambda: {end})
    ended = model.generate_tokens(tokens_BC, max_new_tokens=8)
    assert torch.equal(ended[0, : place + 1], free[0, : place + 1])
    assert ended[0, place + 1 :].eq(model.tokenizer.pad_id).all()
    assert model.generate_tokens(tokens_BC[:1], max_new_tokens=8).shape == (1, place + 1)


def test_drawing_follows_the_seed_and_the_probabilities(tiny: Tiny) -> None:
    """Oracle: the model's own softmax, against the share of 4,000 first tokens drawn."""
    model = tiny("llama")
    tokens_BC = torch.full((4000, 2), 5)
    drawn = model.generate_tokens(tokens_BC, max_new_tokens=1, temperature=0.7, seed=3)
    assert torch.equal(drawn, model.generate_tokens(tokens_BC, max_new_tokens=1, temperature=0.7, seed=3))
    assert not torch.equal(drawn, model.generate_tokens(tokens_BC, max_new_tokens=1, temperature=0.7, seed=4))
    expected_V = (model.logits(tokens_BC[:1])[0, -1] / 0.7).softmax(-1)
    share_V = torch.bincount(drawn[:, 0], minlength=model.vocab_size) / len(drawn)
    assert (share_V - expected_V).abs().max() < 0.04


def test_text_in_text_out(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the tokens one by one, BOS in front because this tokenizer puts it there."""
    model = tiny("llama")
    monkeypatch.setattr(model, "_end_ids", set)
    tokens = model.generate_tokens(torch.tensor([[1, 3, 4]]), max_new_tokens=4)[0].tolist()
    text = model.generate("a b", max_new_tokens=4)
    assert text.startswith("a b")
    words = [model.tokenizer.piece(token) for token in tokens if token not in model.tokenizer.special_ids]
    assert text.split() == ["a", "b", *words]


def test_more_than_the_model_has_positions_for(tiny: Tiny, tokens_BC: Tensor) -> None:
    with pytest.raises(InputError, match="more than the 32"):
        tiny("gpt2").generate_tokens(tokens_BC, max_new_tokens=24)
