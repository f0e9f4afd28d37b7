"""Which hook is meant, and rows for a sample."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.train.source import choose_hook, take_rows

POINTS = [HookPoint.parse("resid_post.0"), HookPoint.parse("resid_post.1")]


@pytest.fixture
def two_hooks(store):
    return type(store)(store.x_TD, hooks=POINTS)


def test_the_only_hook_need_not_be_named(store):
    assert choose_hook(store, None) == POINTS[0]


def test_one_of_several_must_be_named(two_hooks):
    assert choose_hook(two_hooks, "resid_post.1") == POINTS[1]
    with pytest.raises(InputError, match=r"resid_post\.0, resid_post\.1; say which"):
        choose_hook(two_hooks, None)
    with pytest.raises(InputError, match=r"not resid_post\.9; harvest"):
        choose_hook(two_hooks, "resid_post.9")


def test_rows_are_taken_once_and_no_more_than_asked_for(store):
    assert len(torch.cat(take_rows(store, POINTS[0], 5000, seed=0, split="train"))) == 5000
    every = torch.cat(take_rows(store, POINTS[0], 10**6, seed=0, split="heldout"))
    assert every.sum().item() == pytest.approx(store.x_TD[-2000:].sum().item(), rel=1e-4)
    assert len(every) == 2000


def test_a_split_without_rows_is_refused(store):
    with pytest.raises(InputError, match="the heldout split of this store has 0 tokens"):
        take_rows(type(store)(store.x_TD[:0]), POINTS[0], 100, seed=0, split="heldout")
