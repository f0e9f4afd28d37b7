"""Fluency against counts by hand and losses of single tokens."""

from __future__ import annotations

import math

import pytest
import torch
from tests.steer.linear_world import HOOK, VOCABULARY, WIDTH, LinearModel

from lexiscope.core.errors import InputError
from lexiscope.steer.effects.fluency import Continuations, distinct, examples, judge, write
from lexiscope.steer.effects.goals import Predicate, Prompts


@pytest.fixture
def model():
    return LinearModel(torch.randn(WIDTH, VOCABULARY, generator=torch.Generator().manual_seed(3)))


def test_a_loop_has_few_distinct_ngrams():
    assert distinct([[1, 2, 1, 2, 1]], 1) == 2 / 5
    assert distinct([[1, 2, 1, 2, 1]], 2) == 2 / 4
    assert distinct([[1, 1, 1, 1], [1, 2, 3, 4]], 3) == (1 / 2 + 1) / 2
    assert distinct([[1]], 2) == 1.0


def test_perplexity_is_of_new_tokens_under_the_model_alone(model):
    written = Continuations([[1, 2], [3]], [[4, 5, 5], [7]])
    losses = []
    for before, following in [(2, 4), (4, 5), (5, 5), (3, 7)]:
        losses.append(-float((model.table_VD[before] @ model.U_DV).log_softmax(0)[following]))
    found = judge(model, written, Predicate.on_text("has e", lambda text: "e" in text))
    assert found.perplexity == pytest.approx(math.exp(sum(losses) / 4), rel=1e-5)
    assert found.distinct == pytest.approx([(2 / 3 + 1) / 2, 1.0, 1.0], abs=1e-5)
    assert found.met.mean == 0.5
    assert judge(model, Continuations([[1]], [[]])).perplexity is None


def test_a_zero_vector_writes_what_the_model_writes_and_a_long_one_its_token(model):
    prompts = Prompts.of(model, [[1, 2, 3], [4], [5, 6, 7]])
    alone = write(model, HOOK, prompts, new_tokens=5, seed=2)
    assert write(model, HOOK, prompts, torch.zeros(WIDTH), new_tokens=5, seed=2) == alone
    model.U_DV = torch.zeros(WIDTH, VOCABULARY)
    model.U_DV[0, 9], model.U_DV[1, 8] = 1.0, 1.0
    each_BD = torch.zeros(3, WIDTH)
    each_BD[0, 0] = each_BD[1, 1] = each_BD[2, 0] = 1e3
    assert write(model, HOOK, prompts, each_BD, new_tokens=4).new == [[9] * 4, [8] * 4, [9] * 4]


def test_a_predicate_sorts_what_was_written_into_examples(model):
    written = Continuations([[1], [2], [3]], [[4, 5], [6, 6], [5, 7]])
    has_e = Predicate.on_text("has e", lambda text: "e" in text)
    assert examples(model, written, has_e) == (["ade", "ceg"], ["bff"])
    with pytest.raises(InputError, match="3 continuations say the same of 'short'"):
        examples(model, written, Predicate.on_text("short", lambda text: len(text) < 9))
