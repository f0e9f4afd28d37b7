"""Memory that is used again. Oracles: addresses, and the page faults that the system counts."""

import gc
import platform
import subprocess
import sys

import pytest
import torch

from lexiscope.core.memory import LARGE_BYTES, SPARE, Pool, keep_large_blocks, lasting

PROGRAM = """
import resource, torch
from lexiscope.core.memory import keep_large_blocks
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12):
    torch.ones(16 * 2**20)
before = faults()
for _ in range(3):
    torch.ones(16 * 2**20)
print(faults() - before)
"""


def faults_of(call):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
def test_blocks_of_64_megabytes_are_used_again():
    """Once the heap is large enough for blocks that need room to be aligned."""
    assert 10 * faults_of("assert keep_large_blocks()") < faults_of("")


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_large_blocks.__wrapped__()


def test_the_memory_of_a_dead_tensor_serves_the_next_of_its_size():
    pool = Pool()
    first = pool.empty((LARGE_BYTES, 1), torch.float32)
    view, address = first[5:], first.data_ptr()
    del first
    other = pool.empty((1, LARGE_BYTES), torch.float32)
    assert other.data_ptr() != address  # the view is alive
    del view
    gc.collect()
    again = pool.empty((2, LARGE_BYTES), torch.int16)
    assert again.data_ptr() == address
    assert (again.dtype, again.shape, again.is_contiguous()) == (torch.int16, (2, LARGE_BYTES), True)
    assert address % 64 == 0
    again.fill_(3)
    assert other.numel() * 3 == again.sum() / 2


def test_not_much_more_lies_idle_than_was_once_in_use():
    pool = Pool()
    for size in (4, 1, 2, 3, 4, 5):
        tensor = pool.empty((size, LARGE_BYTES), torch.uint8)
        assert tensor.numel() <= pool.bytes_used <= 2 * tensor.numel()
        del tensor
        assert pool.bytes_used == 0
        assert pool.bytes_idle <= SPARE * pool.most_bytes_used
    assert pool.most_bytes_used == 5 * LARGE_BYTES


def test_a_step_that_repeats_itself_needs_no_fresh_memory():
    """Blocks of several sizes, some of them in use at the same time."""
    pool = Pool()

    def step():
        held = pool.empty((5 * LARGE_BYTES,), torch.uint8)
        return [held.data_ptr(), *(pool.empty((n * LARGE_BYTES,), torch.uint8).data_ptr() for n in (1, 2, 1))]

    assert step() == step() == step()


def test_released_memory_is_not_used_again():
    pool = Pool()
    tensor = pool.empty((LARGE_BYTES,), torch.uint8)
    pool.release()  # nothing idle yet, and the tensor stays
    tensor.fill_(1)
    del tensor
    assert pool.bytes_idle == LARGE_BYTES
    pool.release()
    assert (pool.bytes_idle, pool.bytes_used, pool.most_bytes_used) == (0, 0, 0)


@pytest.mark.parametrize("shape", [(3, 5), (0,), (), (LARGE_BYTES, 3)])
def test_lasting_tensors_are_zeros_that_can_be_written(shape):
    tensor = lasting(shape, torch.int16)
    assert (tensor.shape, tensor.dtype, tensor.count_nonzero()) == (shape, torch.int16, 0)
    tensor.fill_(7)
    assert (tensor == 7).all()


def test_small_tensors_are_left_to_torch():
    pool = Pool()
    assert pool.empty((3, 4), torch.float64).shape == (3, 4)
    assert pool.empty((0, 4), torch.float64).shape == (0, 4)
    assert pool.most_bytes_used == 0


def test_gradients_in_pooled_memory_are_taken_over_without_a_copy():
    """Oracle: the address that the backward pass gave."""
    pool, seen = Pool(), []

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum()

        @staticmethod
        def backward(ctx, grad):
            out = pool.empty((LARGE_BYTES,)).fill_(2)
            seen.append(out.data_ptr())
            return out

    weight = torch.zeros(LARGE_BYTES, requires_grad=True)
    for _ in range(2):
        Twice.apply(weight).backward()
        assert weight.grad.data_ptr() == seen[-1]
        weight.grad = None
    assert seen[0] == seen[1]
