"""Which hook is meant, and rows for a sample."""

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.train.source import Sites, batches_at, choose_sites, join, take_rows

ONE = Sites((HookPoint.parse("resid_post.0"),), (HookPoint.parse("resid_post.0"),))
POINTS = [HookPoint.parse("resid_post.0"), HookPoint.parse("resid_post.1")]


@pytest.fixture
def two_hooks(store):
    return type(store)(store.x_TD, hooks=POINTS)


def test_the_only_hook_need_not_be_named(store):
    assert choose_sites(store, None) == Sites((POINTS[0],), (POINTS[0],))


def test_one_of_several_must_be_named(two_hooks):
    assert choose_sites(two_hooks, "resid_post.1").reads == (POINTS[1],)
    with pytest.raises(InputError, match=r"resid_post\.0, resid_post\.1; say which"):
        choose_sites(two_hooks, None)
    with pytest.raises(InputError, match=r"not resid_post\.9; harvest"):
        choose_sites(two_hooks, "resid_post.9")


def test_rows_are_taken_once_and_no_more_than_asked_for(store):
    assert len(join(take_rows(store, ONE, 5000, seed=0, split="train")).input_TD) == 5000
    every = join(take_rows(store, ONE, 10**6, seed=0, split="heldout")).input_TD
    assert every.sum().item() == pytest.approx(store.x_TD[-2000:].sum().item(), rel=1e-4)
    assert len(every) == 2000


def test_a_split_without_rows_is_refused(store):
    with pytest.raises(InputError, match="the heldout split of this store has 0 tokens"):
        take_rows(type(store)(store.x_TD[:0]), ONE, 100, seed=0, split="heldout")


class TwoSites:
    """Two hook points of different width whose rows belong together: row t of the second is t itself."""

    def __init__(self, store):
        self.store = store
        self.hooks = POINTS
        self.numbered = type(store)(torch.arange(float(len(store.x_TD)))[:, None])

    def width(self, hook):
        return (self.store if hook == POINTS[0] else self.numbered).width(hook)

    def batches(self, hook, **arguments):
        return (self.store if hook == POINTS[0] else self.numbered).batches(hook, **arguments)


def test_what_is_read_and_written_comes_from_the_same_tokens(store):
    source = TwoSites(store)
    sites = choose_sites(source, POINTS[0], POINTS[1])
    batch = next(batches_at(source, sites, batch_tokens=50, seed=3))
    assert torch.equal(batch.input_TD, store.x_TD[batch.target_TD[:, 0].long()])
    both = next(batches_at(source, choose_sites(source, POINTS), batch_tokens=50, seed=3))
    assert torch.equal(both.input_TD, torch.cat(batch, dim=1))
    assert both.input_TD is both.target_TD
    taken = take_rows(source, sites, 5000, seed=0, split="train")
    assert join(taken).input_TD.shape == (5000, 24)
    assert join(taken).target_TD.shape == (5000, 1)
