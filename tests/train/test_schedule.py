"""Schedules at points worked out by hand."""

import pytest

from lexiscope.train.schedule import learning_rate_factor, sparsity_factor


def test_learning_rate_rises_stays_and_falls():
    """100 steps: 4 of warm-up (1/5, 2/5 …), the last 20 % falling by 1/21 each."""
    factors = [learning_rate_factor(step, 100, warmup_steps=4, decay_fraction=0.2) for step in range(100)]
    assert factors[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert factors[78:82] == pytest.approx([1.0, 1.0, 20 / 21, 19 / 21])
    assert factors[99] == pytest.approx(1 / 21)


def test_without_warmup_and_decay_it_is_constant():
    assert [learning_rate_factor(step, 7, 0, 0.0) for step in range(7)] == [1.0] * 7


def test_a_run_of_one_step_learns():
    assert learning_rate_factor(0, 1, 0, 0.2) > 0.5


def test_sparsity_rises_over_its_share_of_the_run():
    assert [sparsity_factor(p, 0.5) for p in (0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert sparsity_factor(0.0, 0.0) == 1.0
