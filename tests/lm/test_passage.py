"""A passage against the model run by hand: which positions are replaced, which predictions count, and gradients."""

import pytest
import torch

from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.rows import pack_for
from lexiscope.lm.passage import Passage
from lexiscope.text.document import Document

HOOK = HookPoint.parse("resid_post.0")


@pytest.fixture
def passage(tiny):
    model = tiny("llama")
    documents = [
        Document("a", "the cat sat on the mat and the dog did not", "prose", "none"),
        Document("b", "why", "prose", "none"),
    ]
    return Passage(model, next(iter(pack_for(model, documents, context=16, batch=4))))


def test_what_is_read_is_what_the_splice_gives(passage):
    seen = []
    passage.log_probabilities(HOOK, lambda x_TD: seen.append(x_TD) or x_TD)
    assert torch.equal(seen[0], passage.read(HOOK))
    assert len(seen[0]) == passage.mask_BC.sum()


def test_the_activation_itself_changes_nothing(passage):
    same_NV = passage.log_probabilities(HOOK, lambda x_TD: x_TD)
    torch.testing.assert_close(same_NV, passage.clean_NV)
    assert passage.divergence(passage.clean_NV).abs().max() < 1e-6


def test_losses_are_those_of_the_model(passage):
    """Oracle: cross-entropy of the bare module at text tokens about text tokens, one by one."""
    with torch.no_grad():
        logits_BCV = passage.model.module(passage.tokens_BC).logits
    expected = [
        torch.nn.functional.cross_entropy(logits_BCV[b, c], passage.tokens_BC[b, c + 1]).item()
        for b in range(len(passage.tokens_BC))
        for c in range(passage.tokens_BC.shape[1] - 1)
        if passage.mask_BC[b, c] and passage.mask_BC[b, c + 1]
    ]
    assert passage.cross_entropy(passage.clean_NV).tolist() == pytest.approx(expected, rel=1e-4)


def test_gradients_reach_what_replaces_the_activation(passage):
    """Oracle: finite differences along a random direction."""
    x_TD = passage.read(HOOK).requires_grad_()
    direction_TD = torch.randn(x_TD.shape, generator=torch.Generator().manual_seed(0))

    def loss(step):
        moved_TD = x_TD + step * direction_TD
        return passage.cross_entropy(passage.log_probabilities(HOOK, lambda _: moved_TD)).mean()

    (grad_TD,) = torch.autograd.grad(loss(0.0), x_TD)
    with torch.no_grad():
        numeric = (loss(1e-2) - loss(-1e-2)) / 2e-2
    assert (grad_TD * direction_TD).sum().item() == pytest.approx(numeric.item(), rel=2e-2)
