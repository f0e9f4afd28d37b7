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
from lexiscope.index.live.contexts import Places
from lexiscope.measure.worlds.planted.behaviour import behaviour
from lexiscope.saes.base import Batch
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Scale
from lexiscope.steer.suppressing.factors import Scaled, learn
from lexiscope.steer.suppressing.suppression import contrasts, find
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


def test_contrast_is_the_paired_t_statistic(planted, sae):
    """Oracle: the sums written out token by token, their mean and standard error."""
    asked, keep = prompts(" x"), prompts(" q")
    found_F = contrasts(planted, sae, asked, keep)
    differences_PF = torch.stack(
        [sums(planted, sae, a.text) - sums(planted, sae, b.text) for a, b in zip(asked, keep, strict=True)]
    )
    error_F = differences_PF.std(0, correction=0) / len(asked) ** 0.5
    moving_F = error_F > 1e-3
    torch.testing.assert_close(found_F[moving_F], (differences_PF.mean(0) / error_F)[moving_F], rtol=1e-2, atol=1e-2)
    assert int(found_F.argmax()) == PLANTED


def sums(model, sae, text):  # noqa: F811
    total_F = torch.zeros(sae.num_latents)
    tokens = model.tokenizer.encode(text).ids  # this model puts no BOS in front
    for x_D in model.read(torch.tensor([tokens]), [AT])[AT][0]:
        total_F += sae.encode(x_D[None]).dense()[0].detach()
    return total_F


def test_scaling_with_gradients_is_scaling(planted, sae):
    """Oracles: `editing`, and finite differences of the log odds."""
    features = [PLANTED, 0, 7]
    places = Places.of(sae)
    tokens_BC = torch.tensor([planted.tokenizer.encode("Anna met x so x").ids])
    by_J = torch.tensor([0.9, -1.0, 0.5], requires_grad=True)

    def z_with(by):
        edits = [Scale(features=f, by=float(b)) for f, b in zip(features, by, strict=True)]
        with editing(planted, sae, edits):
            return planted.logits(tokens_BC)[0, -1]

    with torch.enable_grad(), Scaled(planted, sae, places, features).by(by_J):
        logits_V = planted.logits(tokens_BC, grad=True)[0, -1]
        (gradient_J,) = torch.autograd.grad(logits_V[5], by_J)
    torch.testing.assert_close(logits_V.detach(), z_with(by_J.tolist()))
    for place in range(len(features)):
        step_J = torch.zeros(3).index_fill_(0, torch.tensor(place), 1e-2)
        slope = (z_with((by_J + step_J).tolist())[5] - z_with((by_J - step_J).tolist())[5]) / 2e-2
        assert float(gradient_J[place]) == pytest.approx(float(slope), rel=0.05, abs=1e-2)


def test_factors_move_only_where_that_helps(planted, sae):
    """Known truth: the planted feature has to go, the second is silent, the third takes the unwanted answer away."""
    with torch.no_grad():
        sae.b_enc_F[1] = -1e6
        sae.b_enc_F[2] = LENGTH  # fires everywhere
        sae.W_dec_FD[2] = -sae.W_dec_FD[PLANTED]
    features, text = [PLANTED, 1, 2], text_without(planted, 1)
    scaled = Scaled(planted, sae, Places.of(sae), features)
    once, again = (
        learn(scaled, prompts(" x"), prompts(" q"), text, limit=0.01, steps=40, seed=seed) for seed in (0, 0)
    )
    assert torch.equal(once, again)
    assert once[0] < 0.5
    assert once[1] == 1
    assert once[2] == 1  # at its limit: nothing is turned up


def test_the_planted_feature_is_found_and_nothing_else_suffers(planted, sae):
    """The one feature that holds the behaviour is turned, and text on which it is silent keeps every bit."""
    text = text_without(planted, 1)
    before = planted.logits(text[0].tokens_BC)
    found = find(planted, sae, prompts(" x"), text, keep=prompts(" q"), candidates=1)
    [edit], [turned] = found.recipe.edits, found.turned
    assert edit.features == (PLANTED,) == (turned.feature,)
    assert edit.by == turned.by < 0.5
    assert (found.suppressed, found.harmed, found.rise) == (1, 0, 0)
    assert found.log_odds < 0
    with editing(planted, sae, found.recipe.edits):
        assert torch.equal(planted.logits(text[0].tokens_BC), before)
        assert behaviour(planted, prompts(" so x")).planted.share == 0
    assert behaviour(planted, prompts(" so x")).planted.share == 1


def test_among_many_candidates_the_planted_one_is_turned(planted, sae):
    found = find(planted, sae, prompts(" x"), text_without(planted, 1), keep=prompts(" q"), limit=0.05)
    assert PLANTED in [one.feature for one in found.turned]
    assert (found.suppressed, found.harmed) == (1, 0)
    assert found.rise <= 0.05
    assert [one.by for one in found.turned] == sorted(one.by for one in found.turned)


def test_what_cannot_be_told_apart_cannot_be_suppressed(planted, sae):
    """What must be answered as before is what is to be suppressed: no feature fires more in one than in the other."""
    with pytest.raises(InputError, match="no feature of this dictionary fires more"):
        find(planted, sae, prompts(" x"), text_without(planted, 1), keep=prompts(" x"))


def test_damage_keeps_a_feature_alone(planted, sae):
    """The planted feature fires in the text that must stay, where z follows it: every factor does damage."""
    marked = [" ".join(f"{text} xz" for text in BEGINNINGS)] * 8
    documents = [Document(str(place), page, "generated", "Apache-2.0") for place, page in enumerate(marked)]
    text = list(pack(documents, planted.tokenizer, context=32, batch=4, bos=planted.bos))
    with pytest.raises(InputError, match="no factors were found"):
        find(planted, sae, prompts(" x"), text, keep=prompts(" q"), candidates=1, limit=1e-4)


def test_bad_input(model, sae, planted):  # noqa: F811
    text, asked, keep = text_without(model, 1), prompts(" x"), prompts(" q")
    with pytest.raises(InputError, match="there is nothing to suppress"):
        find(planted, sae, keep, text, keep=keep)
    with pytest.raises(InputError, match="no ordinary text"):
        find(planted, sae, asked, [], keep=keep)
    with pytest.raises(InputError, match="8 prompts need as many"):
        find(planted, sae, asked, text, keep=keep[1:])
    sae.hook = HookPoint.parse("resid_post.9")
    with pytest.raises(InputError, match="resid_post"):
        find(planted, sae, asked, text, keep=keep)
