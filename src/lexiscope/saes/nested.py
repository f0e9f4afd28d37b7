"""Errors of nested reconstructions: of some entries of the codes, of more, and at last of all of them.

    x̂_g = b + Σ values[n] · W[latents[n]] over the entries n of groups 0..g,   L = Σ_g weight_g ‖x̂_g - x‖² / D

Matryoshka autoencoders group entries by latent, hierarchical TopK by rank. Each entry is decoded once: a group adds to
what the groups before it gave. The gradient runs backwards the same way: what an entry of group g sees is the sum over
g, g + 1, … of the weighted errors. The weights are known beforehand, so both are found in one pass over blocks of
tokens, and no [tokens, groups, D] tensor of a whole batch is kept.

T tokens, D model width, F latents, N active entries, G groups, B tokens of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels.gather import weighted_columns_and_dots, weighted_rows

BLOCK_CELLS = 2**24
"""64 MB of fp32 errors, [G, B, D]. Fewer and larger blocks: the weight gradient [F, D] is added to once a block."""
SLICE_CELLS = 2**18
"""1 MB of fp32: sums over groups run over slices that stay in cache."""


def nested_error(
    codes: SparseCodes, group_N: Tensor, weights: Sequence[float], W_FD: Tensor, b_D: Tensor, target_TD: Tensor
) -> Tensor:
    """L, a scalar, with gradients for the values of the codes, W and b.

    Args:
        group_N: int64, the group of every entry, 0..G-1.
        weights: one for each group.
    """
    loss = _NestedError.apply(  # type: ignore[no-untyped-call]
        codes.values, W_FD, b_D, codes.offsets, codes.latents, group_N, tuple(weights), target_TD
    )
    return cast(Tensor, loss)


class _NestedError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values_N: Tensor,
        W_FD: Tensor,
        b_D: Tensor,
        offsets: Tensor,
        latents_N: Tensor,
        group_N: Tensor,
        weights: tuple[float, ...],
        target_TD: Tensor,
    ) -> Tensor:
        wants_values, wants_W, wants_b = ctx.needs_input_grad[:3]
        grad_values, grad_b = torch.zeros_like(values_N), torch.zeros_like(b_D)
        grad_W: Tensor | None = None
        loss = values_N.new_zeros(())
        for block in _blocks(offsets, latents_N, group_N, len(weights), W_FD.shape[1]):
            values = values_N[block.entries]
            rows_RD = weighted_rows(W_FD, block.latents, block.offsets, values)
            rows_GBD = rows_RD.view(len(weights), -1, W_FD.shape[1])
            loss += _errors_to_gradients(rows_GBD, b_D - target_TD[block.tokens], weights, target_TD.numel())
            if wants_values or wants_W:
                part, dots = weighted_columns_and_dots(rows_RD, block.latents, block.offsets, values, W_FD)
                grad_values[block.entries] = dots
                grad_W = part if grad_W is None else grad_W.add_(part)
            if wants_b:
                grad_b += rows_GBD[0].sum(0)
        ctx.save_for_backward(grad_values, grad_W, grad_b)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = ctx.saved_tensors
        if grad.is_cuda or grad != 1:  # a pass over [F, D] that a loss added to others does not need
            grads = [None if tensor is None else tensor * grad for tensor in grads]
        return (*grads, None, None, None, None, None)


def _errors_to_gradients(rows_GBD: Tensor, start_BD: Tensor, weights: Sequence[float], cells: int) -> Tensor:
    """From what each group adds to what each group's entries see, in place; returns the part of L."""
    total = rows_GBD.new_zeros(())
    size = max(1, SLICE_CELLS // rows_GBD.shape[2])
    for first in range(0, rows_GBD.shape[1], size):
        error_BD = start_BD[first : first + size]
        slices = [group_BD[first : first + size] for group_BD in rows_GBD]
        for group_BD, weight in zip(slices, weights, strict=True):
            error_BD = group_BD.add_(error_BD)
            if weight:
                total += torch.linalg.vector_norm(error_BD).square() * (weight / cells)
        slices[-1].mul_(2 * weights[-1] / cells)
        for group in reversed(range(len(slices) - 1)):
            torch.add(slices[group + 1], slices[group], alpha=2 * weights[group] / cells, out=slices[group])
    return total


class _Block(NamedTuple):
    """Entries of some consecutive tokens as sparse rows, one for each (group, token), ordered by group."""

    tokens: slice
    entries: Tensor
    latents: Tensor
    offsets: Tensor


def _blocks(offsets: Tensor, latents_N: Tensor, group_N: Tensor, num_groups: int, width: int) -> Iterator[_Block]:
    num_tokens = len(offsets) - 1
    size = max(1, BLOCK_CELLS // (num_groups * width))
    for first in range(0, num_tokens, size):
        tokens = slice(first, min(first + size, num_tokens))
        held = offsets[first : tokens.stop + 1]
        rows = tokens.stop - first
        start, stop = int(held[0]), int(held[-1])
        token_N = torch.repeat_interleave(held.diff(), output_size=stop - start)
        sorted_N, order_N = (group_N[start:stop] * rows + token_N).to(torch.int32).sort(stable=True)
        edges = torch.arange(num_groups * rows + 1, dtype=torch.int32, device=offsets.device)
        entries = order_N + start
        yield _Block(tokens, entries, latents_N[entries], torch.searchsorted(sorted_N, edges))
