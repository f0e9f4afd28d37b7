"""A text token by token. Oracles: `generate_tokens` for the tokens, and for features all of it read at once."""

from __future__ import annotations

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Add, Clamp
from lexiscope.steer.live import stream

from .conftest import HOOK, dictionary

PROMPT = "a b c d"


@pytest.mark.parametrize(
    "edits", [[], [Add(features=1, by=6, tokens="generated"), Clamp(features=2, to=3, positions=2)]]
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_tokens_and_features(every_model, monkeypatch, edits, temperature):
    """In every family. A feature is told as it arrives, so that what changes it on that very token is not seen."""
    monkeypatch.setattr(every_model, "_end_ids", set)
    sae = dictionary(every_model)
    way = {"max_new_tokens": 5, "temperature": temperature, "seed": 2}
    told = list(stream(every_model, sae, PROMPT, edits, with_prompt=True, most_features=24, **way))
    prompt_BC = torch.tensor([[1, 3, 4, 5, 6]])
    arrives = []
    before = every_model.splice({HOOK: lambda x_BCD: arrives.append(x_BCD.clone()) or x_BCD})
    with before, editing(every_model, sae, edits, prompt_tokens=5):
        new_BC = every_model.generate_tokens(prompt_BC, **way)
        arrives.clear()
        every_model.logits(torch.cat([prompt_BC, new_BC], 1))
    assert [token.token for token in told] == [*prompt_BC[0].tolist(), *new_BC[0].tolist()]
    assert [token.generated for token in told] == [False] * 5 + [True] * 5
    assert [token.position for token in told] == list(range(10))
    with torch.no_grad():
        f_CF = sae.encode(arrives[0][0]).dense()
    for token in told:
        expected = {} if token.special else {i: v for i, v in enumerate(f_CF[token.position].tolist()) if v}
        found = {firing.feature: firing.activation for firing in token.firings}
        assert token.l0 == len(found)
        for feature in set(expected) | set(found):
            assert found.get(feature, 0) == pytest.approx(expected.get(feature, 0), abs=2e-3)
    assert list(stream(every_model, sae, PROMPT, edits, most_features=24, **way)) == told[5:]


def test_the_end_is_told_and_has_no_features(small, monkeypatch):
    free = [token.token for token in stream(small, dictionary(small), PROMPT, max_new_tokens=8)]
    place = next(place for place in range(1, 8) if free[place] not in free[:place])
    monkeypatch.setattr(small, "_end_ids", lambda: {free[place]})
    told = list(stream(small, dictionary(small), PROMPT, max_new_tokens=8))
    assert [token.token for token in told] == free[: place + 1]
    assert told[-1].firings == []


def test_others_have_their_turn_between_two_tokens(small):
    """Oracle: the model itself: between two tokens nothing of the stream is left in it."""
    sae, tokens_BC = dictionary(small), torch.tensor([[1, 3, 4]])
    clean = small.logits(tokens_BC)
    for _ in stream(small, sae, PROMPT, Clamp(features=[1, 2], to=9), max_new_tokens=3):
        assert torch.equal(small.logits(tokens_BC), clean)
    half = stream(small, sae, PROMPT, Clamp(features=[1, 2], to=9), max_new_tokens=3)
    next(half)
    half.close()
    assert torch.equal(small.logits(tokens_BC), clean)


def test_names(small):
    sae = dictionary(small)
    asked = []

    def labels(features):
        asked.extend(features)
        return {features[0]: "letters"}

    told = list(stream(small, sae, PROMPT, labels=labels, most_features=24, max_new_tokens=4))
    assert any(firing.label == "letters" for token in told for firing in token.firings)
    assert len(asked) == len(set(asked))
    assert all(len(token.firings) <= 2 for token in stream(small, sae, PROMPT, most_features=2, max_new_tokens=2))


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("", {}, "nothing to read"),
        (PROMPT, {"max_new_tokens": 40}, "have positions for|has positions for"),
        (PROMPT, {"most_features": -1}, "are to be named"),
        (PROMPT, {"interventions": Clamp(features=77, to=1)}, "there is no feature 77"),
    ],
)
def test_refused_before_the_first_token(small, prompt, options, words):
    with pytest.raises(InputError, match=words):
        stream(small, dictionary(small), prompt, **options)
