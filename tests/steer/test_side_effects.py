"""Side effects against sums over single predictions, and features counted by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tests.steer.linear_world import HOOK, VOCABULARY, WIDTH, LinearDictionary, LinearModel

from lexiscope.core.errors import InputError
from lexiscope.index.live.contexts import Contexts
from lexiscope.steer.effects.side_effects import OffTarget

TEXTS = [[1, 2, 3, 4], [5, 6, 2], [7, 1, 2, 2]]


@pytest.fixture
def model():
    return LinearModel(torch.randn(WIDTH, VOCABULARY, generator=torch.Generator().manual_seed(3)))


def by_hand(model, vector_D, left_out=()):
    """Mean over contexts of (KL, rise of the loss), one prediction at a time."""
    kls, rises = [], []
    for text in TEXTS:
        kl, rise = [], []
        for token, following in itertools.pairwise(text):
            clean_V, moved_V = (
                ((model.table_VD[token] + added) @ model.U_DV).log_softmax(0) for added in (0.0, vector_D)
            )
            kl.append(float((clean_V.exp() * (clean_V - moved_V)).sum()))
            if following not in left_out:
                rise.append(float(clean_V[following] - moved_V[following]))
        kls.append(sum(kl) / len(kl))
        rises.append(sum(rise) / len(rise) if rise else None)
    known = [rise for rise in rises if rise is not None]
    return sum(kls) / len(kls), sum(known) / len(known)


@pytest.mark.parametrize("left_out", [(), (2,)])
def test_divergence_and_perplexity_are_those_of_single_predictions(model, left_out):
    off_target = OffTarget(model, HOOK, Contexts.of(model, TEXTS), target_tokens=left_out)
    vector_D = torch.linspace(-1, 1, WIDTH)
    found = off_target.effects(vector_D)
    kl, rise = by_hand(model, vector_D, left_out)
    assert found.kl.mean == pytest.approx(kl, rel=1e-4)
    assert found.perplexity.rise == pytest.approx(math.expm1(rise), rel=1e-4)
    assert found.perplexity.low <= found.perplexity.rise <= found.perplexity.high
    assert found.perplexity == off_target.rise(vector_D)
    assert found.perplexity == OffTarget(model, HOOK, Contexts.of(model, TEXTS)).about(left_out).rise(vector_D)
    assert found.features_moved is None


def test_nothing_added_has_no_side_effect(model):
    sae = LinearDictionary(torch.eye(WIDTH))
    found = OffTarget(model, HOOK, Contexts.of(model, TEXTS), sae=sae).effects(torch.zeros(WIDTH))
    assert (found.kl.mean, found.perplexity.rise) == (0.0, 0.0)
    assert found.features_moved
    assert found.features_moved.mean == 0.0


def test_other_features_that_move_are_counted(model):
    """Features are the coordinates; the vector lifts coordinate 0, which is the one meant, and 1 and 2 far above 0."""
    model.table_VD[:] = -1.0
    sae = LinearDictionary(torch.eye(WIDTH))
    off_target = OffTarget(model, HOOK, Contexts.of(model, TEXTS), sae=sae)
    vector_D = torch.tensor([9.0, 9.0, 9.0, *[0.0] * (WIDTH - 3)])
    assert [off_target.effects(vector_D, feature).features_moved.mean for feature in (0, None)] == [2.0, 3.0]
    each_BD = torch.stack([vector_D, 0 * vector_D, 0 * vector_D])
    assert off_target.effects(each_BD, 0).features_moved.mean == pytest.approx(2 / 3)


def test_text_that_is_all_about_the_goal_is_refused(model):
    with pytest.raises(InputError, match="two contexts with words that are not the goal's"):
        OffTarget(model, HOOK, Contexts.of(model, TEXTS), target_tokens=[2, 3, 4, 6])
