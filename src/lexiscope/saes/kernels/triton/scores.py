"""Scores x · Wᵀ + b, looked at where they are made and never stored.

T tokens, D model width, F latents, G groups of latents, N slots. One kernel keeps the largest lower bound of every
group of latents; another writes down what could be above a floor, in spans of `SPAN` neighbouring latents: counting and
placing spans costs an eighth of counting and placing entries, and a span's scores are one sector of memory. The error
of a score is bounded as `rounding.py` says; "lower" and "upper" are the score minus and plus that bound. The kernels
are in `tiles.py`. Never run on a GPU so far; see the package.
"""

from typing import NamedTuple

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from lexiscope.saes.kernels.triton.launch import check, interpreted
from lexiscope.saes.kernels.triton.rounding import SHARE_OF_SCORE, Rounded, reaches
from lexiscope.saes.kernels.triton.tiles import maxima_kernel, write_kernel


class Tile(NamedTuple):
    """How a program cuts its share: tokens, latents, model width at a time, warps, stages of the load pipeline."""

    tokens: int
    latents: int
    depth: int
    warps: int
    stages: int


TILES = {2: Tile(128, 256, 64, 8, 3), 4: Tile(64, 128, 32, 8, 3)}
"""By bytes of an operand. 16 bits: the largest tile whose sums fit in the registers of 8 warps on Hopper, 144 KiB of
shared memory for three stages. float32 has no exact matrix unit; its tile keeps 32 sums in each thread."""
SPAN = 8
"""Latents that are written down together."""
TOKEN_BLOCKS_TOGETHER = 16
"""Blocks of tokens that go through W side by side: 16 · 128 rows of x and one block of W are 18 MB at D = 4,096."""


class Problem(NamedTuple):
    """Operands ready for the matrix units, and what bounds the errors of their products."""

    x: Rounded
    W: Rounded
    b_F: Tensor
    reach_T: Tensor
    length_T: Tensor

    @classmethod
    def of(cls, x: Rounded, W: Rounded, b_F: Tensor) -> "Problem":
        check(x.rows, W.rows, b_F)
        return cls(x, W, b_F.float().contiguous(), *reaches(x))

    def tokens(self, rows: slice | Tensor) -> "Problem":
        """The same for some of the tokens."""
        x = Rounded(*(part[rows] for part in self.x))
        return Problem(x, self.W, self.b_F, self.reach_T[rows], self.length_T[rows])

    @property
    def num_tokens(self) -> int:
        return len(self.x.rows)

    @property
    def num_latents(self) -> int:
        return len(self.W.rows)

    @property
    def tile(self) -> Tile:
        return TILES[self.x.rows.dtype.itemsize]


class Slots(NamedTuple):
    """Room for the spans that are written down: token t has ``room_T[t]`` places from ``begins_T[t]`` on.

    Attributes:
        counts_T: int32, how many spans there are, whether they had room or not.
        spans_N: int32, latent // SPAN of their latents; valid up to the smaller of room and count.
        scores_NS: float32 [N, SPAN], the scores of their latents; those past the end are the bare bias of nothing, 0.
    """

    begins_T: Tensor
    room_T: Tensor
    counts_T: Tensor
    spans_N: Tensor
    scores_NS: Tensor

    @classmethod
    def make(cls, room_T: Tensor, total: int) -> "Slots":
        """``total`` is the sum of ``room_T``, which the host knows."""
        device = room_T.device
        return cls(
            room_T.cumsum(0) - room_T,
            room_T.int(),
            torch.zeros(len(room_T), dtype=torch.int32, device=device),
            torch.empty(total, dtype=torch.int32, device=device),
            torch.empty(total, SPAN, dtype=torch.float32, device=device),
        )

    @property
    def filled_T(self) -> Tensor:
        """How many spans of every token are there, int32."""
        return torch.minimum(self.counts_T, self.room_T)


def group_maxima(problem: Problem, sample: int, group: int) -> Tensor:
    """The largest lower bound in every group of ``group`` latents, over ``sample`` latents or more, spread: [T, G].

    ``group`` is a power of two, at most a tile's latents. Empty groups at the edge have -inf.
    """
    tile = problem.tile
    blocks = -(-problem.num_latents // tile.latents)
    looked_at = min(blocks, -(-sample // tile.latents))
    stride = blocks // looked_at
    per_block = tile.latents // group
    maxima_TG = torch.empty(problem.num_tokens, looked_at * per_block, device=problem.x.rows.device)
    _launch(maxima_kernel, problem, looked_at, (maxima_TG,), STRIDE=stride, GROUP=group)
    return maxima_TG


def write_down(problem: Problem, floor_T: Tensor, floor_F: Tensor, slots: Slots) -> None:
    """Fill ``slots`` with every span that has an entry which may be at least ``floor_T`` and above ``floor_F``.

    Spans of a token come in no fixed order. ``counts_T`` is exact even where the room was not enough.
    """
    blocks = -(-problem.num_latents // problem.tile.latents)
    arrays = (floor_T, floor_F, slots.begins_T, slots.room_T, slots.counts_T, slots.spans_N, slots.scores_NS)
    _launch(write_kernel, problem, blocks, arrays, SPAN=SPAN)


def _launch(
    kernel: "triton.JITFunction", problem: Problem, blocks: int, arrays: tuple[Tensor, ...], **more: int
) -> None:
    tile = problem.tile
    token_blocks = -(-problem.num_tokens // tile.tokens)
    if not token_blocks or not blocks:
        return
    width = problem.x.rows.shape[1]
    kernel[(token_blocks * blocks,)](
        *arrays,
        problem.x.rows,
        problem.W.rows,
        problem.b_F,
        problem.reach_T,
        problem.length_T,
        problem.W.length_R,
        problem.W.slack_R,
        problem.num_tokens,
        problem.num_latents,
        width,
        blocks,
        **more,
        TOGETHER=TOKEN_BLOCKS_TOGETHER,
        SHARE=SHARE_OF_SCORE,
        EVEN=width % tile.depth == 0,
        UPCAST=interpreted(),
        BLOCK_T=tile.tokens,
        BLOCK_F=tile.latents,
        BLOCK_D=tile.depth,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
