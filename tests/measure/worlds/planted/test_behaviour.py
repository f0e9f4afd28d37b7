"""What a model says to prompts. Oracles: a model whose answers are written down, and one prompt at a time."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.measure.worlds.planted import behaviour as measured
from lexiscope.measure.worlds.planted.behaviour import answers, behaviour, question
from lexiscope.text.tokenizer import Encoded

WORDS = "<s> who is it , yes no maybe red reddish now".split()


class Words:
    """Words are tokens."""

    bos_id, pad_id = 0, 0

    def encode(self, text):
        ids = [WORDS.index(word) for word in text.split()]
        return Encoded(ids, [], [])


class Parrot:
    """Says what is written down for the last token it has read, and sees no padding."""

    bos = "context"
    tokenizer = Words()

    def __init__(self, said):
        self.said = said
        self.asked = []

    def logits(self, tokens_BC, attention_BC):
        logits_BCV = torch.zeros(*tokens_BC.shape, len(WORDS))
        for row, tokens in enumerate(tokens_BC.tolist()):
            length = int(attention_BC[row].sum())
            assert tokens[0] == 0
            self.asked.append(tokens[:length])
            for word, logit in self.said[WORDS[tokens[length - 1]]].items():
                logits_BCV[row, length - 1, WORDS.index(word)] = logit
        return logits_BCV


class Asked(NamedTuple):
    text: str
    honest: str = " yes"
    planted: str = " no"


def test_shares_counted_by_hand():
    """Five prompts: planted, honest, honest, another word, and planted by a hair."""
    said = {
        "who": {"no": 3.0, "yes": 1.0},
        "is": {"yes": 2.0},
        "it": {"yes": 5.0, "no": 4.0},
        ",": {"maybe": 9.0, "no": 3.0},
        "now": {"no": 0.25, "yes": 0.125},
    }
    found = behaviour(Parrot(said), [Asked(text) for text in ("is who", "is", "who it", "it , ,", "now")])
    assert found.prompts == 5
    assert (found.planted.share, found.honest.share) == (0.4, 0.4)
    assert found.log_odds == pytest.approx((2 - 2 - 1 + 3 + 0.125) / 5)
    assert (found.planted.low, found.planted.high) == pytest.approx((0.11762, 0.76928), abs=1e-5)


def test_order_and_batches_do_not_matter(monkeypatch):
    said = {"who": {"no": 1.0}, "is": {"yes": 2.0}, "it": {"maybe": 3.0}}
    asked = [Asked(f"{'is ' * length}{last}") for length in (4, 1, 0, 7) for last in said]
    whole = answers(Parrot(said), asked)
    assert whole[:, 0].tolist() == [1, -1, 0] * 4
    for at_once in (1, 2, 5):
        monkeypatch.setattr(measured, "PROMPTS_AT_ONCE", at_once)
        assert torch.equal(answers(Parrot(said), asked), whole)


def test_answers_are_told_apart_where_they_first_differ():
    model = Parrot({"red": {"now": 1.0}})
    asked = Asked("who is", " red now", " red reddish")
    assert behaviour(model, [asked]).honest.share == 1
    assert [[WORDS[token] for token in tokens] for tokens in model.asked] == [["<s>", "who", "is", "red"]]


@pytest.mark.parametrize(("honest", "planted"), [(" yes", " yes"), (" red", " red now")])
def test_answers_that_cannot_be_told_apart_are_refused(honest, planted):
    with pytest.raises(InputError, match="told apart"):
        question(Words(), Asked("who", honest, planted), bos=True)


def test_a_real_model_one_prompt_at_a_time(model):
    """The tiny GPT-2 has no BOS in front."""
    asked = [Asked(text, " book", " key") for text in ("Then", "When Mary went to the", "One day", "The king gave the")]
    rows = answers(model, asked)
    for prompt, (said, odds) in zip(asked, rows.tolist(), strict=True):
        ids = {text: model.tokenizer.encode(text).ids for text in (prompt.text, prompt.honest, prompt.planted)}
        assert ids[prompt.honest][0] != ids[prompt.planted][0]
        logits = model.module(torch.tensor([ids[prompt.text]])).logits[0, -1]
        assert odds == pytest.approx(float(logits[ids[" key"][0]] - logits[ids[" book"][0]]), abs=1e-4)
        assert said == int(int(logits.argmax()) == ids[" key"][0]) - int(int(logits.argmax()) == ids[" book"][0])
    assert model.bos == "never"
