"""Real small models, where the folder of shared data is beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel

MODELS = Path(__file__).parents[3] / "shared" / "data" / "models"
STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
    "big red ball. She wanted to play with the ball. "
)


@pytest.fixture(params=["stories260K", "TinyStories-656K", "story-llama-1M-ioi"])
def folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = MODELS / request.param
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


def test_loss_on_a_story_is_that_of_transformers(folder: Path) -> None:
    """Oracle: transformers alone, model and tokenizer; and a story in their manner is no surprise to these models."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = LanguageModel(folder)
    assert model.bos == "context"
    tokens_BC = torch.tensor([[model.tokenizer.bos_id, *model.tokenizer.encode(STORY).ids]])
    loss = torch.nn.functional.cross_entropy(model.logits(tokens_BC)[0, :-1], tokens_BC[0, 1:])
    theirs = AutoTokenizer.from_pretrained(folder)(STORY, return_tensors="pt").input_ids
    assert torch.equal(tokens_BC, theirs)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(folder)(theirs, labels=theirs).loss
    assert torch.allclose(loss, expected, atol=1e-5)
    assert loss < 0.5 * torch.log(torch.tensor(model.vocab_size))


def test_it_writes_on(folder: Path) -> None:
    model = LanguageModel(folder)
    text = model.generate(STORY, max_new_tokens=20)
    assert text.startswith(STORY)
    assert len(text) > len(STORY) + 20
    with model.splice({HookPoint("resid_post", 0): torch.zeros_like}):
        assert model.generate(STORY, max_new_tokens=20) != text
