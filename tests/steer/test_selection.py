"""Selection in a world of one matrix: what a feature detects, what it writes, and what it writes by way of another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.steer.conftest import dictionary
from tests.steer.linear_world import HOOK, VOCABULARY, WIDTH, LinearDictionary, LinearModel

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.contexts import Contexts
from lexiscope.measure.concepts.search import find_each
from lexiscope.steer.effects.goals import Likelihood, Prompts, TokenSet, pairs
from lexiscope.steer.effects.selection import direct_direction, goal_gradient, measure, select, steered_place
from lexiscope.steer.effects.side_effects import OffTarget

DETECTS, WRITES, UNDOES, INDIRECT = range(4)
GOAL = TokenSet("token 3", {3: 1.0})
TEXTS = [[1, 3, 2, 4], [5, 3, 6], [7, 8, 3, 3, 9], [2, 10, 11, 1]]


@pytest.fixture
def model():
    """Token 3 has coordinate 0, which writes nothing. Coordinate 1 raises its logit, 2 lowers it, and 3 is read by
    another layer that raises it. Coordinates 4 and above write noise."""
    U_DV = torch.zeros(WIDTH, VOCABULARY)
    U_DV[4:] = torch.randn(WIDTH - 4, VOCABULARY, generator=torch.Generator().manual_seed(3))
    U_DV[WRITES, 3], U_DV[UNDOES, 3] = 1.0, -1.0
    table_VD = 0.1 * torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(4))
    table_VD[3, DETECTS] = 5.0
    table_VD[:, INDIRECT] = 0.5
    return LinearModel(U_DV, table_VD, reader_D=3.0 * torch.eye(WIDTH)[INDIRECT], reads_to_V=torch.eye(VOCABULARY)[3])


@pytest.fixture
def sae():
    return LinearDictionary(torch.eye(WIDTH))


def test_the_feature_that_writes_is_chosen_where_activations_prefer_one_that_detects(model, sae):
    """Known truth: coordinate 3 moves the log-odds by 3 per unit by way of the layer after, coordinate 1 by 1."""
    prompts = Prompts.of(model, TEXTS)
    tokens_T = torch.tensor([token for text in TEXTS for token in text])
    positive_T = (tokens_T == 3).numpy()
    detector = find_each([(positive_T, np.ones_like(positive_T))], [sae.encode(model.table_VD[tokens_T])], 2**20)[0]
    assert detector.latent == DETECTS
    found = select(model, sae, GOAL, prompts, norm=0.1, also=[DETECTS], shortlist=3, random=2)
    assert found.chosen == INDIRECT
    by_feature = {candidate.feature: candidate for candidate in found.candidates}
    assert {INDIRECT, WRITES, DETECTS} <= set(by_feature)
    assert by_feature[INDIRECT].observed.mean == pytest.approx(0.3, abs=1e-5)
    assert by_feature[WRITES].observed.mean == pytest.approx(0.1, abs=1e-5)
    assert by_feature[DETECTS].observed.mean == pytest.approx(0.0, abs=1e-6)
    assert by_feature[INDIRECT].attribution == pytest.approx(3.0, abs=1e-4)
    assert by_feature[WRITES].attribution == pytest.approx(1.0, abs=1e-4)
    assert by_feature[INDIRECT].direct == pytest.approx(0.0, abs=1e-5)  # the unembedding alone can't see it
    assert by_feature[WRITES].direct == pytest.approx(1.0, abs=1e-5)
    assert [candidate.shortlisted for candidate in found.candidates].index(False) == len(found.candidates) - 2


def test_signs_are_tested_on_random_features_apart_from_the_shortlist(model, sae):
    prompts = Prompts.of(model, TEXTS)
    found = select(model, sae, GOAL, prompts, norm=0.1, shortlist=2, random=20)
    assert len(found.candidates) == WIDTH  # there are no more
    drawn = [candidate for candidate in found.candidates if not candidate.shortlisted]
    undoes = next(candidate for candidate in drawn if candidate.feature == UNDOES)
    assert undoes.turned == pytest.approx(-0.1, abs=1e-5)
    agreed = [(candidate.attribution > 0) == (candidate.turned > 0) for candidate in drawn]
    assert found.signs["attribution"].random.count == sum(agreed)
    assert found.signs["attribution"].random.of == len(drawn)
    assert found.signs["attribution"].shortlisted.share == 1.0
    assert found.signs["direct"].shortlisted.of == 2


def test_a_feature_that_costs_less_is_preferred_to_one_that_does_a_little_more(model):
    """The direction that does more also writes noise off-target."""
    directions_FD = torch.zeros(2, WIDTH)
    directions_FD[0, [WRITES, 6]] = torch.tensor([1.0, 0.2])
    directions_FD[1, [WRITES, DETECTS]] = 1.0
    model.U_DV[6] = 3.0 * torch.tensor([0.0, 1.0, -1.0] * (VOCABULARY // 3))
    prompts, off_target = Prompts.of(model, TEXTS), OffTarget(model, HOOK, Contexts.of(model, TEXTS))
    found = select(
        model, LinearDictionary(directions_FD), GOAL, prompts, norm=1.0, off_target=off_target, shortlist=2, random=0
    )
    costs = {candidate.feature: candidate.loss_rise for candidate in found.candidates}
    effects = {candidate.feature: candidate.observed.mean for candidate in found.candidates}
    assert costs[0] > costs[1]
    assert effects[0] > effects[1]
    assert found.chosen == 1
    assert found.signs["attribution"].random is None


def test_the_gradient_is_that_of_finite_differences(small):
    """A transformer with several layers behind the hook; examples, whose goal has one number per pair of rows."""
    hook = HookPoint("resid_post", 0)
    prompts = pairs(small, ["w1 w2 w3", "c d"], ["a b", "w9 w8 w7 w6"])
    goal = Likelihood("examples")
    gradient_D = goal_gradient(small, hook, goal, prompts)
    random = torch.Generator().manual_seed(1)
    for _ in range(4):
        step_D = 1e-2 * torch.nn.functional.normalize(torch.randn(small.width, generator=random), dim=0)
        ahead, behind = (measure(small, hook, goal, prompts, sign * step_D).double().mean() for sign in (1, -1))
        assert float(gradient_D @ step_D) == pytest.approx(float(ahead - behind) / 2, rel=0.02, abs=1e-5)


def test_examples_are_a_goal_without_direct_effects(small):
    """Oracle: the first candidate is the feature whose dose, tried alone, moves the examples most."""
    sae = dictionary(small)
    goal, prompts = Likelihood("examples"), pairs(small, ["w1 w2 w3", "c d", "e f g"], ["a b", "w9 w8 w7 w6"])
    found = select(small, sae, goal, prompts, norm=0.05, shortlist=24, random=0)
    directions_FD = torch.nn.functional.normalize(sae.directions_FD.detach().float(), dim=1)
    clean_B = measure(small, sae.hook, goal, prompts, None)
    each = [float((measure(small, sae.hook, goal, prompts, 0.05 * row_D) - clean_B).mean()) for row_D in directions_FD]
    observed = {candidate.feature: candidate.observed.mean for candidate in found.candidates}
    assert observed == pytest.approx(dict(enumerate(each)), abs=1e-5)
    assert list(found.signs) == ["attribution"]
    assert {candidate.direct for candidate in found.candidates} == {None}
    values = [candidate.value for candidate in found.candidates]
    assert values == sorted(values, reverse=True)


def test_direct_effects_are_the_derivative_of_log_odds_without_other_layers(model):
    """Oracle: autograd on logits that are one product, every prompt at the same token, so that the mean is exact."""
    goal = TokenSet("two", {3: 1.0, 5: 0.5})
    model.reader_D = torch.zeros(WIDTH)
    prompts = Prompts.of(model, [[1, 2], [4, 2]])
    torch.testing.assert_close(
        direct_direction(model, goal, prompts), goal_gradient(model, HOOK, goal, prompts), atol=1e-5, rtol=1e-4
    )


def test_a_goal_that_nothing_raises_has_no_feature_to_steer_with(model, sae):
    found = select(model, sae, GOAL, Prompts.of(model, TEXTS), norm=0.1)
    assert found.best() == found.chosen
    useless = [candidate.model_copy(update={"value": 0.0}) for candidate in found.candidates]
    with pytest.raises(InputError, match="none of the features that were tried raises"):
        found.model_copy(update={"candidates": useless}).best()


def test_what_cannot_be_steered_is_refused(model, sae):
    prompts = Prompts.of(model, TEXTS)
    with pytest.raises(InputError, match="no live feature"):
        select(model, sae, GOAL, prompts, norm=0.1, live=[])
    crosscoder = LinearDictionary(torch.eye(WIDTH))
    crosscoder.writes = (HOOK, HookPoint("resid_post", 1))
    with pytest.raises(InputError, match="one vector is added at one place"):
        steered_place(crosscoder)
    with pytest.raises(InputError, match="does not say which hook point"):
        steered_place(saes.create(saes.relu_l1.Config(num_latents=4), saes.Batch.same(torch.randn(64, 4)), seed=0))
