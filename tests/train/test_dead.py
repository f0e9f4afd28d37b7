"""Silence is counted in tokens, whatever the batch size. Oracle: sums by hand."""

import torch

from lexiscope.core.codes import SparseCodes
from lexiscope.train.dead import DeadLatents


def codes(tokens, *firing):
    dense_TF = torch.zeros(tokens, 5)
    for latent in firing:
        dense_TF[tokens // 2, latent] = 1.0
    return SparseCodes.from_dense(dense_TF)


def test_silence_is_counted_in_tokens():
    dead = DeadLatents(num_latents=5, dead_after_tokens=100)
    dead.update(codes(60, 0, 1, 2))
    assert dead.silent_tokens_F.tolist() == [0, 0, 0, 60, 60]
    dead.update(codes(39, 0))
    assert dead.mask_F.tolist() == [False] * 5
    dead.update(codes(1, 4))
    assert dead.silent_tokens_F.tolist() == [0 + 1, 40, 40, 100, 0]
    assert dead.mask_F.tolist() == [False, False, False, True, False]
    dead.update(codes(10, 3))
    assert dead.mask_F.tolist() == [False] * 5


def test_batch_size_moves_nothing_for_a_silent_latent():
    for size in (1, 10, 50):
        dead = DeadLatents(num_latents=5, dead_after_tokens=100)
        for _ in range(100 // size):
            dead.update(codes(size, 0))
        assert dead.mask_F.tolist() == [False, True, True, True, True], size


def test_a_mask_given_out_does_not_change_later():
    dead = DeadLatents(num_latents=5, dead_after_tokens=10)
    before = dead.mask_F
    dead.update(codes(20))
    assert not before.any()
