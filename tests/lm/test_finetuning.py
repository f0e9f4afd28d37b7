"""Fine-tuning. Oracles: torch's AdamW on a second copy of the module with the loss written out token by token."""

from __future__ import annotations

import pytest
import torch
from tests.lm.conftest import write_model

from lexiscope.core.errors import TrainingError
from lexiscope.lm.finetuning import BETAS, CLIP_NORM, Lesson, cross_entropy, finetune, rate, save_folder
from lexiscope.lm.model import LanguageModel
from lexiscope.text.document import Document
from lexiscope.text.pack import pack

TEXTS = ["a b c d e f g", "g f e w1 w2", "x y z x y z x y z x y", "w3 w4 w5 w6 w7 w8"]


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path, "llama")


def batches(model, batch):
    documents = [Document(str(number), text, "prose", "unknown") for number, text in enumerate(TEXTS)]
    return list(pack(documents, model.tokenizer, context=16, batch=batch, bos=model.bos))


def reference_steps(module, steps, lr):
    """Every token's loss by itself; each step its mean with the weights."""
    module.requires_grad_(True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, betas=BETAS, weight_decay=0.0)
    for number, lessons in enumerate(steps):
        weighed, whole = torch.zeros(()), 0.0
        for batch, weights_BC in lessons:
            for row in range(len(batch.tokens_BC)):
                length = int(batch.attention_BC[row].sum())
                tokens = batch.tokens_BC[row, :length]
                logs = module(tokens[None], use_cache=False).logits[0].log_softmax(-1)
                for place in range(1, length):
                    if batch.mask_BC[row, place]:
                        weight = 1.0 if weights_BC is None else float(weights_BC[row, place])
                        weighed = weighed - weight * logs[place - 1, tokens[place]]
                        whole += weight
        optimizer.zero_grad()
        (weighed / whole).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP_NORM)
        optimizer.param_groups[0]["lr"] = lr * rate(number, len(steps))
        optimizer.step()
    module.requires_grad_(False)


def test_steps_are_those_of_the_reference(folder):
    model, other = LanguageModel(folder), LanguageModel(folder)
    whole, two = batches(model, 4), batches(model, 2)
    weights = torch.linspace(0, 3, two[0].tokens_BC.numel()).view(two[0].tokens_BC.shape)
    steps = [[Lesson(whole[0])], [Lesson(two[0], weights), Lesson(two[1])], [Lesson(two[1])]]
    finetune(model, steps, num_steps=3, lr=1e-2)
    reference_steps(other.module, steps, 1e-2)
    for (name, found), (_, expected) in zip(
        model.module.named_parameters(), other.module.named_parameters(), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-3, msg=name)


def test_it_learns_its_text_and_leaves_the_weights_frozen(folder):
    model = LanguageModel(folder)
    (batch,) = batches(model, 4)
    before = cross_entropy(model, batch).mean()
    finetune(model, iter([[Lesson(batch)]] * 30), num_steps=30, lr=1e-2)
    assert cross_entropy(model, batch).mean() < before / 2
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.module.parameters())


def test_what_is_saved_is_what_was_trained(folder, tmp_path):
    model = LanguageModel(folder)
    (batch,) = batches(model, 4)
    finetune(model, [[Lesson(batch)]], num_steps=1, lr=1e-2)
    save_folder(model, tmp_path / "tuned")
    again = LanguageModel(tmp_path / "tuned")
    assert torch.equal(again.logits(batch.tokens_BC), model.logits(batch.tokens_BC))
    assert not torch.equal(LanguageModel(folder).logits(batch.tokens_BC), model.logits(batch.tokens_BC))
    assert (again.tokenizer.fingerprint, again.bos) == (model.tokenizer.fingerprint, model.bos)


def test_a_loss_that_is_no_number_ends_it(folder):
    model = LanguageModel(folder)
    (batch,) = batches(model, 4)
    with pytest.raises(TrainingError, match="smaller lr"):
        finetune(model, [[Lesson(batch)]] * 20, num_steps=20, lr=1e30)
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_the_rate_climbs_and_falls_to_zero():
    assert [rate(step, 10) for step in (0, 5, 9)] == pytest.approx([1.0, 0.5, 0.1])
    assert [rate(step, 100) for step in (0, 4, 50)] == pytest.approx([0.1, 0.5, 0.5])
    assert [rate(step, 100, 0.4) for step in (0, 60, 80)] == pytest.approx([0.1, 1.0, 0.5])


def test_half_precision_moves_every_step_from_the_weights_of_that_step(folder):
    """Weights that were rounded once and kept would not get below the first step's loss."""
    exact, rounded = LanguageModel(folder), LanguageModel(folder)
    (batch,) = batches(exact, 4)
    before = cross_entropy(rounded, batch).mean()
    finetune(exact, [[Lesson(batch)]] * 20, num_steps=20, lr=1e-2)
    finetune(rounded, [[Lesson(batch)]] * 20, num_steps=20, lr=1e-2, precision="bfloat16")
    after = cross_entropy(rounded, batch).mean()
    assert rounded.module.dtype == torch.float32
    assert after < before / 2
    assert float(after) == pytest.approx(float(cross_entropy(exact, batch).mean()), rel=0.2)
