"""Adam with unit rows, clipping and 8-bit moments.

Oracle: torch.optim.Adam in float64 with the projection, the clipping and the unit rows written out around it.
"""

import copy
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels import backend, eight_bit
from lexiscope.saes.kernels.native import library
from lexiscope.train.adam import Adam

PATHS = ["stock", *(["native"] if library.loaded().dll is not None else [])]


def weights(rng, shapes, dtype=torch.float32):
    tensors = [torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes]
    if len(shapes) > 1:
        tensors[0] /= tensors[0].norm(dim=-1, keepdim=True)
    return [torch.nn.Parameter(tensor.to(dtype)) for tensor in tensors]


def gradients(rng, parameters, *, silent_rows=0):
    grads = [torch.randn(parameter.shape, generator=rng, dtype=torch.float64) for parameter in parameters]
    grads[0][:silent_rows] = 0
    return grads


class Reference:
    """The formulas one after the other, in float64; the first parameter has unit rows."""

    def __init__(self, parameters, clip, **settings):
        self.parameters = [torch.nn.Parameter(parameter.detach().double()) for parameter in parameters]
        self.clip, self.adam = clip, torch.optim.Adam(self.parameters, **settings)

    @torch.no_grad()
    def step(self, grads):
        unit = self.parameters[0]
        grads = [grad.clone() for grad in grads]
        grads[0] -= (grads[0] * unit).sum(-1, keepdim=True) * unit
        norm = torch.sqrt(sum(grad.square().sum() for grad in grads))
        if self.clip is not None:
            grads = [grad * min(1.0, self.clip / (norm.item() + 1e-6)) for grad in grads]
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter.grad = grad
        self.adam.step()
        unit /= unit.norm(dim=-1, keepdim=True)
        return norm


def step(optimizer, parameters, grads):
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.to(parameter.dtype)
    return optimizer.step()


@pytest.mark.parametrize("path", PATHS)
@given(
    width=st.integers(1, 70),
    rows=st.integers(1, 40),
    clip=st.sampled_from([None, 0.5, 1e6]),
    seed=st.integers(0, 2**20),
    lr=st.sampled_from([1e-4, 0.05]),
    eps=st.sampled_from([1e-8, 1e-3]),
)
@settings(max_examples=25, deadline=None)
def test_steps_are_those_of_the_reference(path, width, rows, clip, seed, lr, eps):
    """Rows without gradient among them: their moments decay and still move them."""
    rng = torch.Generator().manual_seed(seed)
    parameters = weights(rng, [(rows, width + 1), (rows,), (width,), (3, 2, width)])
    reference = Reference(parameters, clip, lr=lr, eps=eps, betas=(0.8, 0.99))
    optimizer = Adam(parameters, lr, (0.8, 0.99), eps, unit_rows=[parameters[0]], grad_clip=clip)
    with backend.use(path):
        for number in range(4):
            grads = gradients(rng, parameters, silent_rows=rows // 2 if number else 0)
            norm, expected = step(optimizer, parameters, grads), reference.step(grads)
            assert norm.dtype == torch.float32
            torch.testing.assert_close(norm.double(), expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(parameters, reference.parameters, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=2e-2 * lr + 1e-6)


def test_in_float64_it_is_the_reference_to_the_last_digits():
    rng = torch.Generator().manual_seed(0)
    parameters = weights(rng, [(6, 5), (6,)], torch.float64)
    reference = Reference(parameters, 1.0, lr=0.01)
    optimizer = Adam(parameters, 0.01, unit_rows=[parameters[0]], grad_clip=1.0)
    for _ in range(10):
        grads = gradients(rng, parameters)
        step(optimizer, parameters, grads)
        reference.step(grads)
    for ours, theirs in zip(parameters, reference.parameters, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("state_bits", [8, 32])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(path, state_bits):
    """Oracle: the run that was never interrupted, bit for bit."""
    rng = torch.Generator().manual_seed(1)
    parameters = weights(rng, [(20, 30), (20,)])
    settings = {"lr": 0.01, "unit_rows": [parameters[0]], "grad_clip": 1.0, "state_bits": state_bits}
    optimizer = Adam(parameters, **settings)
    with backend.use(path):
        for _ in range(3):
            step(optimizer, parameters, gradients(rng, parameters))
        twins = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
        twin = Adam(twins, **{**settings, "unit_rows": [twins[0]]})
        twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for _ in range(3):
            grads = gradients(rng, parameters)
            step(optimizer, parameters, grads)
            step(twin, twins, grads)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(parameters, twins, strict=True))


@pytest.mark.parametrize("state_bits", [8, 32])
def test_rows_that_are_reset_move_like_fresh_ones_and_no_others_change(state_bits):
    """Oracle: a copy that was not reset; without gradient a row with empty moments stays where it is."""
    rng = torch.Generator().manual_seed(2)
    parameters = weights(rng, [(10, 300)])
    optimizer = Adam(parameters, 0.01, state_bits=state_bits)
    optimizer.reset_rows(parameters[0], torch.tensor([1]))  # nothing to forget yet
    step(optimizer, parameters, gradients(rng, parameters))
    before = parameters[0].detach().clone()
    rows = torch.tensor([2, 7])
    optimizer.reset_rows(parameters[0], rows)
    step(optimizer, parameters, [torch.zeros(10, 300)])
    moved = (parameters[0].detach() != before).any(dim=1)
    assert moved.tolist() == [row not in (2, 7) for row in range(10)]


def test_parameters_without_gradient_stay():
    parameters = [torch.nn.Parameter(torch.ones(4)) for _ in range(2)]
    optimizer = Adam(parameters, 0.25)
    assert optimizer.step() == 0
    parameters[0].grad = torch.ones(4)
    optimizer.step()
    assert [parameter[0].item() for parameter in parameters] == pytest.approx([0.75, 1.0])
    optimizer.zero_grad()
    assert parameters[0].grad is None
    assert sorted(optimizer.state_dict()) == sorted(f"0.{name}" for name in optimizer.state[parameters[0]])


def test_no_compiler_is_loaded_for_it():
    """It would cost a second and 145 MB at the start of every run."""
    code = """
import sys, torch
from lexiscope.train.adam import Adam
weights = torch.nn.Parameter(torch.zeros(3))
optimizer = Adam([weights], 1e-3)
(weights * weights).sum().backward()
optimizer.step()
print("torch._dynamo" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"state_bits": 16}, "state_bits"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"grad_clip": 0.0}, "grad_clip"),
        ({"unit_rows": [torch.ones(2)]}, "unit_rows"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        Adam([torch.nn.Parameter(torch.ones(2))], 0.1, **settings)


@pytest.mark.parametrize("second", [False, True])
def test_8_bit_codes_round_by_less_than_one_code_and_without_bias(second):
    """Oracle: the number itself; a code is at most 1/8 of it, 1/16 for √v. Zero stays zero, small v does not vanish."""
    rng = torch.Generator().manual_seed(3)
    values_RD = torch.randn(4, 300, generator=rng)
    values_RD[:, :100] *= 1e-3
    values_RD[:, 100:110] *= 1e-8
    values_RD[0, 5] = 0
    values_RD = values_RD.square() if second else values_RD
    sizes_RD = values_RD.sqrt() if second else values_RD
    total_RD, rounds = torch.zeros_like(values_RD), 400
    for number in range(rounds):
        codes_RD, scales_RB = eight_bit.encode(values_RD, second=second, first_row=0, step=number)
        assert scales_RB.shape == (4, 2)
        back_RD = eight_bit.decode(codes_RD, scales_RB, second=second)
        back_RD = back_RD.sqrt() if second else back_RD
        lowest = eight_bit.LOWEST * scales_RB.repeat_interleave(256, dim=1)[:, :300]
        assert ((back_RD - sizes_RD).abs() <= sizes_RD.abs() / (16 if second else 8) * 1.001 + lowest).all()
        assert back_RD[0, 5] == 0
        total_RD += back_RD
    if second:
        assert (back_RD[:, 100:110] > 0).all()
    wide = sizes_RD.abs() > 1e-4 * sizes_RD.abs().max()
    bias = (total_RD / rounds - sizes_RD)[wide] / sizes_RD[wide]
    assert bias.abs().max() < 0.015
    assert bias.mean().abs() < 0.001


@pytest.mark.parametrize("path", PATHS)
def test_training_with_8_bit_moments_reaches_the_same_loss(path):
    """Oracle: the same training with 32-bit moments. Loss within 5 % on a dictionary learned from sparse mixtures."""
    rng = torch.Generator().manual_seed(4)
    truth_FD = torch.nn.functional.normalize(torch.randn(24, 12, generator=rng), dim=1)
    losses = {}
    for state_bits in (8, 32):
        rng = torch.Generator().manual_seed(5)
        start_FD = torch.nn.functional.normalize(torch.randn(48, 12, generator=rng), dim=1)
        encoder, decoder = (torch.nn.Parameter(start_FD.clone()) for _ in range(2))
        bias = torch.nn.Parameter(torch.zeros(48))
        optimizer = Adam([encoder, decoder, bias], 3e-3, unit_rows=[decoder], grad_clip=1.0, state_bits=state_bits)
        tail = []
        with backend.use(path):
            for number in range(500):
                active = (torch.rand(128, 24, generator=rng) < 0.08) * torch.rand(128, 24, generator=rng)
                x_TD = active @ truth_FD
                codes = torch.relu(x_TD @ encoder.T + bias)
                loss = (codes @ decoder - x_TD).square().sum(1).mean() + 0.01 * codes.sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if number >= 400:
                    tail.append(loss.item())
        losses[state_bits] = sum(tail) / len(tail)
        torch.testing.assert_close(decoder.norm(dim=1), torch.ones(48))
    assert losses[8] == pytest.approx(losses[32], rel=0.05)


def test_8_bit_moments_take_a_quarter_of_the_memory():
    parameters = weights(torch.Generator().manual_seed(6), [(64, 512)])
    sizes = {}
    for state_bits in (8, 32):
        optimizer = Adam(parameters, 0.1, state_bits=state_bits)
        step(optimizer, parameters, [torch.ones(64, 512)])
        sizes[state_bits] = sum(tensor.nbytes for tensor in optimizer.state[parameters[0]].values())
    assert sizes[8] < 0.27 * sizes[32]


@pytest.mark.skipif("native" not in PATHS, reason="no native library")
@pytest.mark.parametrize("isa", library.INSTRUCTION_SETS)
@pytest.mark.parametrize("shape", [(5, 300), (3, 2, 70), (40, 256)])
def test_8_bit_steps_of_both_paths_round_alike(isa, shape):
    """Oracle: stock torch, from the same state. A code may differ by one where the float before it was rounded."""
    rng = torch.Generator().manual_seed(7)
    parameters = weights(rng, [shape, shape])
    grads = [gradients(rng, parameters, silent_rows=1) for _ in range(6)]
    runs = {}
    library.limit_instructions(isa)
    try:
        for path in ("stock", "native"):
            twins = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
            optimizer = Adam(twins, 0.01, unit_rows=twins[:1], grad_clip=1.0, state_bits=8)
            with backend.use(path):
                for grad in grads:
                    step(optimizer, twins, grad)
            runs[path] = twins, [optimizer.state[twin] for twin in twins]
    finally:
        library.limit_instructions(library.INSTRUCTION_SETS[-1])
    for ours, theirs in zip(runs["native"][1], runs["stock"][1], strict=True):
        for name in ("first_codes", "second_codes"):
            apart = (ours[name].int() & 127) - (theirs[name].int() & 127)
            assert (apart != 0).float().mean() < 0.01
        for name in ("first_scales", "second_scales"):
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=0)
    for ours, theirs in zip(runs["native"][0], runs["stock"][0], strict=True):
        assert ((ours - theirs).abs() > 1e-5).float().mean() < 0.01
