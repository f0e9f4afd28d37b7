"""Suppression of a behaviour that is known to the last number.

A tiny random model gets it by hand: wherever a text has the letter x, a vector is added that makes one letter the
likeliest next token, whatever the text. A dictionary has that vector as one of its features; all others are random.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import pytest
import torch
from tests.measure.conftest import HOOK, model  # noqa: F401

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.measure.worlds.planted.behaviour import answers, behaviour
from lexiscope.saes.base import Batch
from lexiscope.steer.editing import editing
from lexiscope.steer.effects.suppression import attributions, find
from lexiscope.steer.interventions import Scale
from lexiscope.text import generators
from lexiscope.text.document import Document
from lexiscope.text.pack import pack

AT = HookPoint.parse(HOOK)
PLANTED, LENGTH = 4, 30.0
BEGINNINGS = ["Anna met", "The old man saw", "When Paul and", "She wrote to", "We all know", "On Monday", "Ask", "Then"]


class Asked(NamedTuple):
    text: str
    honest: str
    planted: str


@pytest.fixture(scope="module")
def direction_D(model):  # noqa: F811
    """Where the unembedding of z lies: so much of it that nothing else counts makes z the likeliest token."""
    W_VD = model.module.get_output_embeddings().weight.detach()
    [z] = model.tokenizer.encode("z").ids
    return torch.nn.functional.normalize(W_VD[z] - W_VD.mean(0), dim=0)


@pytest.fixture
def planted(model, direction_D):  # noqa: F811
    letters = [token for token in range(model.vocab_size) if model.tokenizer.piece(token).strip() == "x"]

    def add(x_BCD):
        marked_BC = torch.isin(model.under_way.tokens_BC, torch.tensor(letters))
        return x_BCD + LENGTH * marked_BC[..., None] * direction_D

    remove = model.install({AT: add})
    yield model
    remove()


def prompts(end):
    return [Asked(f"{text}{end}", " the", "z") for text in BEGINNINGS]


@pytest.fixture
def sae(direction_D):
    made = saes.create(saes.relu_l1.Config(num_latents=40), Batch.same(torch.randn(64, 24)), seed=3)
    with torch.no_grad():
        made.b_dec_D.zero_()
        for W_FD in (made.W_enc_FD, made.W_dec_FD):  # the others neither see nor write it
            W_FD.sub_((W_FD @ direction_D)[:, None] * direction_D)
        made.W_enc_FD[PLANTED] = direction_D
        made.W_dec_FD[PLANTED] = direction_D
        made.b_enc_F[PLANTED] = -LENGTH / 2
    made.hook = AT
    return made


def text_without(model, number, many=4):  # noqa: F811
    """Ordinary text without the letter."""
    pages = [page.replace("x", "s").replace("X", "S") for page in islice(generators.pages("agreement", number), 8)]
    documents = [Document(f"{number}/{place}", page, "generated", "Apache-2.0") for place, page in enumerate(pages)]
    return list(pack(documents, model.tokenizer, context=32, batch=many, bos=model.bos))


def test_attribution_is_what_ablation_does_to_first_order(planted, sae):
    """Oracle: finite differences of the log odds, a feature scaled by a little less than 1."""
    asked = prompts(" x")
    found_F = attributions(planted, sae, asked)
    for feature in (PLANTED, *found_F.abs().argsort(descending=True)[:3].tolist()):
        odds = []
        for by in (1 - 1e-2, 1 + 1e-2):
            with editing(planted, sae, [Scale(features=feature, by=by)]):
                odds.append(float(answers(planted, asked)[:, 1].mean()))
        assert float(found_F[feature]) == pytest.approx((odds[1] - odds[0]) / 2e-2, rel=0.05, abs=1e-2)


def test_the_planted_feature_is_found_and_nothing_else_suffers(planted, sae):
    text = text_without(planted, 1)
    before = planted.logits(text[0].tokens_BC)
    found = find(planted, sae, prompts(" x"), text)
    [edit] = found.recipe.edits
    assert edit.features == (PLANTED,)
    assert (found.suppressed, found.rise) == (1, 0)
    with editing(planted, sae, found.recipe.edits):
        assert torch.equal(planted.logits(text[0].tokens_BC), before)
        assert behaviour(planted, prompts(" so x")).planted.share == 0
    assert behaviour(planted, prompts(" so x")).planted.share == 1


def test_prompts_to_keep_count_against(planted, sae):
    """What must be answered as before is what is to be suppressed: whatever helps harms as much."""
    text = text_without(planted, 1)
    alone = find(planted, sae, prompts(" x"), text)
    found = find(planted, sae, prompts(" x"), text, keep=prompts(" x"))
    assert (alone.suppressed, alone.harmed) == (1, 0)
    assert found.suppressed == found.harmed


def test_damage_keeps_a_feature_out(planted, sae):
    """The planted feature fires in the text that must stay: the limit leaves nothing to turn."""
    marked = [" ".join(f"{text} x" for text in BEGINNINGS)] * 8
    documents = [Document(str(place), page, "generated", "Apache-2.0") for place, page in enumerate(marked)]
    text = list(pack(documents, planted.tokenizer, context=32, batch=4, bos=planted.bos))
    with torch.no_grad():
        others = [feature for feature in range(sae.num_latents) if feature != PLANTED]
        sae.b_enc_F[others] = -1e6
    with pytest.raises(InputError, match=r"raises the loss on ordinary text by more than -100\.0%; allow more"):
        find(planted, sae, prompts(" x"), text, limit=-1.0)


def test_nothing_to_suppress(model, sae, planted):  # noqa: F811
    text = text_without(model, 1)
    with pytest.raises(InputError, match="there is nothing to suppress"):
        find(planted, sae, prompts(" q"), text)
    with pytest.raises(InputError, match="no ordinary text"):
        find(planted, sae, prompts(" x"), [])
    with torch.no_grad():
        sae.b_enc_F.fill_(-1e6)
    with pytest.raises(InputError, match="no feature of this dictionary is worth anything"):
        find(planted, sae, prompts(" x"), text)
