"""Goals against probabilities that are summed one by one, and labels that are counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.steer.linear_world import VOCABULARY, WIDTH, LinearModel
from torch.autograd import gradcheck

from lexiscope.core.errors import InputError
from lexiscope.measure.concepts.concept import EVERYWHERE, Concept, matching
from lexiscope.steer.effects.goals import Likelihood, Predicate, Prompts, TokenSet, lexical, pairs


@pytest.fixture
def model():
    return LinearModel(torch.randn(WIDTH, VOCABULARY, generator=torch.Generator().manual_seed(3)))


def test_log_odds_of_a_set_are_those_of_its_probability(model):
    """Oracle: P = Σ w p, token by token, in a loop over prompts and places."""
    goal = TokenSet("three", {2: 1.0, 5: 0.5, 7: 0.25})
    prompts = Prompts.of(model, [[1, 2, 3], [4, 5]], where="text")
    logits_BCV = model.logits(prompts.contexts.tokens_BC)
    expected = []
    for row, length in enumerate((3, 2)):
        odds = []
        for place in range(1, length):  # BOS is no text, and what follows the last token is not measured
            p_V = logits_BCV[row, place].double().softmax(0)
            p = float(p_V[2] + 0.5 * p_V[5] + 0.25 * p_V[7])
            odds.append(math.log(p / (1 - p)))
        expected.append(sum(odds) / len(odds))
    assert goal.measure(logits_BCV, prompts).tolist() == pytest.approx(expected, abs=1e-5)
    assert goal.mass(logits_BCV[0, :1]).item() == pytest.approx(
        float(logits_BCV[0, 0].softmax(0) @ goal_weights(goal)), abs=1e-6
    )
    at_end = Prompts.of(model, [[1, 2, 3], [4, 5]])
    masses = [float(logits_BCV[row, place].softmax(0) @ goal_weights(goal)) for row, place in ((0, 3), (1, 2))]
    by_probability = TokenSet("three", goal.weights, scale="probability")
    assert by_probability.measure(logits_BCV, at_end).tolist() == pytest.approx(masses, abs=1e-6)


def goal_weights(goal):
    weights_V = torch.zeros(VOCABULARY)
    weights_V[goal.tokens] = torch.tensor([goal.weights[token] for token in goal.tokens])
    return weights_V


def test_the_end_of_a_prompt_is_its_last_token(model):
    prompts = Prompts.of(model, [[1, 2, 3], [4]], ["one", "two"])
    assert prompts.measured_BC.tolist() == [[False, False, False, True], [False, True, False, False]]
    assert prompts.documents == ("one", "two")


def test_gradients_flow_through_a_token_set(model):
    """Oracle: finite differences, tokens of weight 1 and 0 among them."""
    goal = TokenSet("two", {2: 1.0, 5: 0.5})
    prompts = Prompts.of(model, [[1, 2]])
    logits = torch.randn(1, 3, VOCABULARY, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda at: goal.measure(at, prompts), (logits,), eps=1e-3, atol=1e-3)


def test_examples_are_compared_per_token(model):
    """Oracle: a loop over the tokens of each text."""
    prompts = pairs(model, ["abcd", "bb"], ["ka"])
    logits_BCV = model.logits(prompts.contexts.tokens_BC)
    alone = []
    for row, length in enumerate((4, 2, 2, 2)):
        tokens = prompts.contexts.tokens_BC[row].tolist()
        steps = [float(logits_BCV[row, place].log_softmax(0)[tokens[place + 1]]) for place in range(1, length)]
        alone.append(sum(steps) / len(steps))
    expected = [alone[0] - alone[1], alone[2] - alone[3]]
    assert Likelihood("examples").measure(logits_BCV, prompts).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_lexicon_of_a_concept_is_counted():
    tokens = torch.tensor([1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 5])
    positive = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1], dtype=bool)
    judged = np.ones(16, dtype=bool)
    judged[13:] = False  # token 5 was only seen where the concept is not judged
    found = lexical("one", tokens, positive & judged, judged)
    assert found
    assert found.goal.weights == {1: 0.75, 2: 1.0}  # 3: a quarter; 4: too seldom
    assert found.coverage == pytest.approx(6 / 9)
    assert lexical("none", tokens, np.zeros(16, dtype=bool), judged) is None


def test_a_concept_is_the_share_of_what_was_written(model):
    vowels = Concept("vowel", "A vowel.", EVERYWHERE, matching("[aei]"))
    predicate = Predicate.of_concept(vowels, model.tokenizer, "prose")
    assert predicate.judge("aaaa", "abcd") == 0.25
    assert predicate.judge("aaaa", "") == 0.0
    assert Predicate.on_text("ends in b", lambda text: text.endswith("b")).judge("a", "ab") == 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: TokenSet("x", {}), "no token in it"),
        (lambda model: TokenSet("x", {3: 1.5}), "token 3 weighs 1.5"),
        (lambda model: pairs(model, ["ab"], []), "both sides"),
        (lambda model: pairs(model, ["ab"], ["a"]), "fewer than two tokens"),
    ],
)
def test_goals_that_mean_nothing_are_refused(model, make, words):
    with pytest.raises(InputError, match=words):
        make(model)
