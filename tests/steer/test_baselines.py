"""Suppression without a dictionary. Oracles: projections read back, gradients' effect on a few prompts, and trials
written by hand."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.rows import pack_for
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import Behaviour, Share, behaviour
from lexiscope.measure.worlds.planted.losses import Apart
from lexiscope.measure.worlds.planted.pages import Prompt
from lexiscope.steer.suppressing.baselines import (
    Judge,
    Tokens,
    Trial,
    at_damage,
    by_finetuning,
    fit_direction,
    without_direction,
)
from lexiscope.text import generators
from lexiscope.text.document import Document

HOOK = HookPoint.parse("resid_post.1")
PLACES = "school park garden river".split()
PROMPTS = [
    Prompt("fit", "king", f"The king went to the {p}. It was", f"The boy went to the {p}. It was", " good", " old")
    for p in PLACES
]


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


@pytest.fixture(scope="module")
def ordinary(demo):
    pages = [page for page, _ in zip(generators.pages("quotes", 0), range(6), strict=False)]
    texts = [Document(f"q:{number}", page, "generated", "Apache-2.0") for number, page in enumerate(pages)]
    return list(pack_for(demo, texts, context=64, batch=4))


@pytest.fixture(scope="module")
def judge(demo, ordinary):
    return Judge(demo, {"shown": PROMPTS}, ordinary)


def contexts(demo, texts):
    return torch.tensor([[demo.tokenizer.bos_id, *demo.tokenizer.encode(text).ids] for text in texts])


@pytest.mark.parametrize("tokens", ["last token", "whole text"])
def test_the_direction_is_the_difference_of_the_means(demo, tokens):
    """Oracle: text by text. One prompt is shorter, so that padding would show."""
    prompts = [*PROMPTS, Prompt("fit", "king", "The king was", "The boy was", " good", " old")]
    found = fit_direction(demo, HOOK, prompts, tokens)
    with_ND, without_ND = (
        torch.stack([mean(demo, text, tokens) for text in texts])
        for texts in ([p.text for p in prompts], [p.without for p in prompts])
    )
    difference_D = with_ND.mean(0) - without_ND.mean(0)
    torch.testing.assert_close(found.direction_D, difference_D / difference_D.norm(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.mean_D, without_ND.mean(0), atol=1e-4, rtol=1e-4)


def mean(demo, text, tokens):
    x_CD = demo.read(contexts(demo, [text]), [HOOK])[HOOK][0]
    return x_CD[-1] if tokens == "last token" else x_CD[1:].mean(0)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_that_much_of_the_projection_goes_from_text_and_nothing_from_bos(demo, strength):
    found, tokens = fit_direction(demo, HOOK, PROMPTS), contexts(demo, [PROMPTS[0].text])
    before_CD = demo.read(tokens, [HOOK])[HOOK][0]
    with without_direction(demo, found, strength):
        after_CD = demo.read(tokens, [HOOK])[HOOK][0]
    assert torch.equal(before_CD[0], after_CD[0])
    left_C, was_C = ((x_CD[1:] - found.mean_D) @ found.direction_D for x_CD in (after_CD, before_CD))
    torch.testing.assert_close(left_C, (1 - strength) * was_C, atol=1e-4, rtol=1e-4)
    rest_CD = (before_CD - after_CD)[1:]
    torch.testing.assert_close(
        rest_CD, (rest_CD @ found.direction_D)[:, None] * found.direction_D, atol=1e-4, rtol=1e-4
    )


def test_strength_zero_is_no_change_at_all(demo, judge):
    for tokens in get_args(Tokens):
        with without_direction(demo, fit_direction(demo, HOOK, PROMPTS, tokens), 0.0):
            nothing = judge.trial(demo, tokens, 0.0)
        assert nothing.behaviour["shown"] == behaviour(demo, PROMPTS)
        assert nothing.damage == (0, 0, 0)


def test_finetuning_moves_a_copy_towards_the_honest_answers(demo, judge, ordinary):
    before = demo.module.get_output_embeddings().weight.clone()
    few, more = by_finetuning(judge, lambda: LanguageModel("demo"), PROMPTS, ordinary, [1, 8], lr=3e-4)
    odds = [trial.behaviour["shown"].log_odds for trial in (few, more)]
    assert behaviour(demo, PROMPTS).log_odds > odds[0] > odds[1]
    assert more.behaviour["shown"].honest.share > 0.5
    assert torch.equal(demo.module.get_output_embeddings().weight, before)
    assert (few.strength, more.strength) == (1, 8)


def test_methods_are_compared_at_the_damage_that_is_allowed():
    def trial(method, left, damage):
        share = Share(share=left, low=0, high=1)
        said = Behaviour(prompts=4, planted=share, honest=share, log_odds=0)
        return Trial(method, 1, {"shown": said}, Apart(damage, damage, damage))

    trials = [trial("a", 0.9, 0.0), trial("b", 0.2, 0.009), trial("c", 0.0, 0.02)]
    assert at_damage(trials, "shown", 0.01) == trials[1]
    assert at_damage(trials, "shown", 0.05) == trials[2]
    assert at_damage(trials, "shown", -0.01) is None


def test_bad_input(demo, judge, ordinary):
    with pytest.raises(InputError, match="give some"):
        fit_direction(demo, HOOK, [])
    with pytest.raises(InputError, match="same mean"):
        fit_direction(demo, HOOK, [prompt._replace(without=prompt.text) for prompt in PROMPTS])
    with pytest.raises(InputError, match="resid_post"):
        fit_direction(demo, HookPoint.parse("resid_post.9"), PROMPTS)
    with pytest.raises(InputError, match="give some of both"):
        by_finetuning(judge, lambda: LanguageModel("demo"), PROMPTS, [], [1])
    with pytest.raises(InputError, match="give some of both"):
        by_finetuning(judge, lambda: LanguageModel("demo"), [], ordinary, [1])
