"""Doses in a world of one matrix, where log-odds rise by strength times unit, and verdicts on made-up results."""

from __future__ import annotations

import json

import pytest
import torch
from tests.steer.conftest import HOOK as SMALL_HOOK
from tests.steer.conftest import dictionary
from tests.steer.linear_world import HOOK, VOCABULARY, WIDTH, LinearDictionary, LinearModel

from lexiscope.core.errors import InputError
from lexiscope.index.live.changes import Mean
from lexiscope.index.live.contexts import Contexts
from lexiscope.steer.editing import editing
from lexiscope.steer.effects.dose import dose_response
from lexiscope.steer.effects.doses import DoseResponse
from lexiscope.steer.effects.goals import Likelihood, Predicate, Prompts, TokenSet, pairs
from lexiscope.steer.effects.intervals import wilson
from lexiscope.steer.effects.selection import goal_gradient
from lexiscope.steer.effects.side_effects import OffTarget, Rise
from lexiscope.steer.effects.trial import ControlPoint, Material, Point, Recommendation, Rivals, Trial, recommend
from lexiscope.steer.effects.verdict import conclude

GOAL = TokenSet("token 3", {3: 1.0})
FEATURE, UNIT = 1, 4.0


@pytest.fixture
def model():
    """Coordinate 1 raises the logit of token 3, coordinate 2 that of the tokens 4 and 5."""
    U_DV = torch.zeros(WIDTH, VOCABULARY)
    U_DV[1, 3] = U_DV[2, 4] = U_DV[2, 5] = 1.0
    U_DV[3:] = torch.randn(WIDTH - 3, VOCABULARY, generator=torch.Generator().manual_seed(3))
    return LinearModel(U_DV)


def material(model, texts, target=GOAL, names="abcdef"):
    off_target = OffTarget(
        model, HOOK, Contexts.of(model, texts), target_tokens=target.tokens, sae=LinearDictionary(torch.eye(WIDTH))
    )
    return Material(Prompts.of(model, texts, list(names[: len(texts)])), off_target)


@pytest.fixture
def selection(model):
    return material(model, [[1, 2, 4], [5, 6, 2, 9], [7, 1, 2], [8, 9, 10, 11, 2]])


@pytest.fixture
def heldout(model):
    return material(model, [[2, 2, 7], [6, 5, 4, 3], [9, 10, 1], [11, 8]], names="wxyz")


@pytest.fixture
def vector_D():
    return UNIT * torch.eye(WIDTH)[FEATURE]


def test_the_recommended_strength_is_the_largest_within_the_limit(model, selection, vector_D):
    """Known truth: log-odds rise by 4 per strength; the cost grows without end, so the best dose is at the limit."""
    trial = Trial(model, HOOK, GOAL, selection)
    found = recommend(trial, vector_D, [-0.5, 0.01, 0.1, 1.0], limit=0.05)
    by_strength = {point.strength: point for point in found.points}
    for strength, point in by_strength.items():
        assert point.effect.mean == pytest.approx(UNIT * strength, abs=1e-4)
        assert point.norm == pytest.approx(UNIT * abs(strength), rel=1e-5)
        assert point.moved.share == 1.0  # down where the strength is negative
    assert by_strength[found.strength].perplexity.high <= 0.05
    above = min(strength for strength in by_strength if strength > found.strength)
    assert by_strength[above].perplexity.high > 0.05
    assert above / found.strength < 1.5
    assert len(found.points) == 7


def test_doses_are_made_stronger_while_they_cost_nothing(model, selection):
    """A direction that nothing reads costs nothing at any dose, and is recommended at none."""
    model.U_DV[0] = 0.0
    found = recommend(Trial(model, HOOK, GOAL, selection), torch.eye(WIDTH)[0], [1.0, 2.0])
    assert [point.strength for point in found.points] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert found.strength is None
    assert conclude(0, "token 3", found, None, 0.05)[0] == "no effect"


def test_a_feature_that_works_is_told_from_its_controls(model, selection, heldout, vector_D):
    rivals = Rivals(torch.eye(WIDTH)[[2, 5, 6]], torch.eye(WIDTH)[2], prefix=[3])
    predicate = Predicate.on_text("writes c", lambda text: "c" in text)
    found = dose_response(
        model,
        HOOK,
        FEATURE,
        torch.eye(WIDTH)[FEATURE],
        GOAL,
        unit=UNIT,
        selection=selection,
        heldout=heldout,
        rivals=rivals,
        strengths=[-0.5, 0.1, 1.0],
        limit=0.2,
        predicate=predicate,
    )
    assert found.outcome == "works"
    assert "more than each control: noise, wrong sign, random feature" in found.verdict
    assert found.judged.effect.mean == pytest.approx(UNIT * found.recommended, abs=1e-3)
    assert found.judged.moved == wilson(4, 4)
    by_name = {control.control: control for control in found.judged.controls}
    assert set(by_name) == {"noise", "wrong sign", "random feature", "difference in means", "prompt only"}
    for name, control in by_name.items():
        assert control.norm == pytest.approx(0.0 if name == "prompt only" else found.judged.norm, rel=1e-4)
    assert by_name["wrong sign"].effect.mean == pytest.approx(-found.judged.effect.mean, abs=1e-3)
    assert by_name["wrong sign"].moved.share == 0.0
    assert by_name["prompt only"].effect.mean == 0.0  # this model reads one token
    assert by_name["difference in means"].effect.mean < 0
    assert [dose.strength for dose in found.curve] == [-0.5, 0.1, 1.0]
    down, _, up = found.curve
    assert down.effect.mean == pytest.approx(-2.0, abs=1e-3)
    assert down.controls[0].advantage.mean > 0  # towards what a negative dose is for
    assert up.fluency.met.mean >= found.untouched.fluency.met.mean
    assert up.side_effects.features_moved is not None
    assert DoseResponse.model_validate(json.loads(found.model_dump_json())) == found


def test_two_features_alike_are_no_better_than_one_another(model, selection, heldout):
    found = dose_response(
        model,
        HOOK,
        FEATURE,
        torch.eye(WIDTH)[FEATURE],
        GOAL,
        unit=UNIT,
        selection=selection,
        heldout=heldout,
        rivals=Rivals(difference_D=torch.eye(WIDTH)[FEATURE]),
        strengths=[0.1],
        limit=0.5,
    )
    assert found.outcome == "no better than a control"
    assert "no better than difference in means or difference in means at its best" in found.verdict


def test_examples_are_a_goal_and_the_recommendation_an_intervention(small):
    """Oracle: the goal read inside `editing` with the intervention that comes out."""
    sae, goal = dictionary(small), Likelihood("examples")
    sides = [("w1 w2 w3", "a b"), ("w4 w5", "c d e")], [("w7 w8", "f g h"), ("w9 w1 w2", "k l")]
    chosen, judged = (pairs(small, [one for one, _ in side], [other for _, other in side]) for side in sides)
    texts = [[5, 9, 12, 30], [40, 41, 7, 8, 9], [20, 21, 22]]
    off_target = OffTarget(small, SMALL_HOOK, Contexts.of(small, texts), sae=sae)
    gradient_D = goal_gradient(small, SMALL_HOOK, goal, chosen)
    feature = int((sae.directions_FD.detach() @ gradient_D).argmax())
    found = dose_response(
        small,
        SMALL_HOOK,
        feature,
        sae.directions_FD[feature].detach(),
        goal,
        unit=0.5,
        selection=Material(chosen, off_target),
        heldout=Material(judged, off_target),
        strengths=[0.1, 0.2],
        limit=10.0,
    )
    intervention = found.intervention()
    clean_B = goal.measure(small.logits(judged.contexts.tokens_BC), judged)
    with editing(small, sae, intervention):
        edited_B = goal.measure(small.logits(judged.contexts.tokens_BC), judged)
    assert float((edited_B - clean_B).mean()) == pytest.approx(found.judged.effect.mean, abs=1e-4)
    with pytest.raises(InputError, match="no dose of feature 1 is recommended: it breaks"):
        found.model_copy(update={"recommended": None, "feature": 1, "verdict": "it breaks."}).intervention()


def point(strength=1.0, low=0.5, rise=0.01):
    return Point(
        strength=strength,
        norm=1.0,
        effect=Mean(mean=1.0, low=low, high=2.0, examples=10),
        moved=wilson(9, 10),
        perplexity=Rise(rise=rise, low=rise, high=rise),
    )


def judged(controls=(), **given):
    class Judged(Point):
        controls: list[ControlPoint]

    return Judged(**point(**given).model_dump(), controls=list(controls))


def control(low):
    return ControlPoint(
        control="noise",
        norm=1.0,
        effect=Mean(mean=0.0, low=-1.0, high=1.0, examples=10),
        moved=wilson(5, 10),
        perplexity=None,
        advantage=Mean(mean=1.0, low=low, high=2.0, examples=10),
    )


def test_a_verdict_says_how_many_others_do_as_much():
    given = (7, "x", Recommendation(1.0, [point()]), judged([control(0.1)]), 0.05)
    assert conclude(*given, wilson(19, 20))[0] == "no better than a control"
    assert "so do 1 of 20 other features of that length" in conclude(*given, wilson(19, 20))[1]
    assert "than each of 20 other features of that length" in conclude(*given, wilson(20, 20))[1]


def test_a_feature_like_any_other_does_not_work(model, selection):
    """Known truth: of 40 directions half raise the goal; the feature is the middle one of those, surely above 0."""
    texts = [[first, second] for first in range(1, 12) for second in range(1, 5)]
    heldout = material(model, texts, names=[f"{number}" for number in range(len(texts))])
    others = torch.zeros(40, WIDTH)
    others[:, 1] = torch.linspace(-1, 1, 40)
    others[:, 0] = (1 - others[:, 1] ** 2).sqrt()
    model.U_DV[0] = 0.0
    direction_D = torch.tensor([0.75**0.5, 0.5, *[0.0] * (WIDTH - 2)])
    found = dose_response(
        model, HOOK, 7, direction_D, GOAL, unit=UNIT, selection=selection, heldout=heldout, rivals=Rivals(others),
        strengths=[0.1], limit=0.2,
    )  # fmt: skip
    assert all(control.advantage.low > 0 for control in found.judged.controls)
    assert 0.5 < found.beaten.share < 1
    assert found.outcome == "no better than a control"


@pytest.mark.parametrize(
    ("points", "final", "outcome", "words"),
    [
        ([point(low=-0.1)], None, "no effect", "does not surely raise x at any dose"),
        ([point(rise=0.5)], None, "breaks the text", "only at doses that may cost more than 5%"),
        ([point()], judged(low=-0.1), "no effect", "no clear effect"),
        ([point()], judged(rise=0.08), "costs too much", "8.0% more perplexity off-target, more than the 5%"),
        ([point()], judged([control(-0.1)]), "no better than a control", "no better than noise"),
        ([point()], judged([control(0.1)]), "works", "raises x on 90% (60% to 98%) of 10 held-out prompts"),
    ],
)
def test_verdicts_say_what_happened(points, final, outcome, words):
    found = conclude(7, "x", Recommendation(1.0, points), final, 0.05)
    assert found[0] == outcome
    assert words in found[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": 0.0}, "never fires"),
        ({"strengths": [-1.0]}, "a strength above 0"),
        ({"strengths": [0.0, 1.0]}, "0 is none"),
        ({"strengths": []}, "a strength above 0"),
        ({"heldout": "single"}, "one prompt gives no interval"),
        ({"heldout": "selection"}, "4 documents are in selection and held-out prompts"),
    ],
)
def test_impossible_doses_are_refused(model, selection, heldout, changes, words):
    given = {"unit": UNIT, "selection": selection, "heldout": heldout, "strengths": [1.0]} | changes
    one = Material(Prompts.of(model, [[7, 7]]), heldout.off_target)
    given["heldout"] = {"selection": selection, "single": one}.get(changes.get("heldout"), heldout)
    with pytest.raises(InputError, match=words):
        dose_response(model, HOOK, FEATURE, torch.eye(WIDTH)[FEATURE], GOAL, **given)
