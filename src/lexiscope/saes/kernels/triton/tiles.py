"""One tile of scores per program: x · Wᵀ + b for a block of tokens and a block of latents, and what is kept of it.

The loop over D is a plain blocked matrix product with float32 sums. Tiles that share rows of x and W run near each
other (`_tile_at`) so that they meet in the L2 cache. `scores.py` launches these kernels and says what they are for.

Read from what Triton 3.7.1 compiles for compute capability 9.0 with the tile for 16 bits: the loop is made of
asynchronous warp-group products (wgmma) fed by 16-byte asynchronous copies, 255 registers, next to nothing spilled, and
the part of `write_kernel` after the loop is 3,900 instructions: by count, a tenth of what the loop takes at D = 4,096.

T tokens, D model width, F latents.
"""
# mypy: disable-error-code="untyped-decorator"

import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]


@triton.jit
def _tile_at(num_tokens: int, blocks: int, BLOCK_T: tl.constexpr, TOGETHER: tl.constexpr) -> tl.tuple:
    """Which blocks of tokens and latents this program has: TOGETHER token blocks take each block of latents in turn."""
    program = tl.program_id(0)
    token_blocks = tl.cdiv(num_tokens, BLOCK_T)
    band = program // (TOGETHER * blocks)
    first = band * TOGETHER
    in_band = tl.minimum(token_blocks - first, TOGETHER)
    within = program % (TOGETHER * blocks)
    return first + within % in_band, within // in_band


@triton.jit
def _scores(
    x: tl.tensor,
    W: tl.tensor,
    tokens: tl.tensor,
    latents: tl.tensor,
    num_tokens: int,
    num_latents: int,
    width: int,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> tl.tensor:
    """X · Wᵀ for a tile. Rows past the end repeat the first, and are masked by the caller."""
    columns = tl.arange(0, BLOCK_D)
    rows = tl.where(tokens < num_tokens, tokens, 0).to(tl.int64)
    lines = tl.where(latents < num_latents, latents, 0).to(tl.int64)
    x += rows[:, None] * width + columns[None, :]
    W += lines[None, :] * width + columns[:, None]
    total = tl.zeros((BLOCK_T, BLOCK_F), tl.float32)
    for first in range(0, width, BLOCK_D):
        if EVEN:
            left = tl.load(x)
            right = tl.load(W)
        else:
            inside = columns < width - first
            left = tl.load(x, mask=inside[None, :], other=0.0)
            right = tl.load(W, mask=inside[:, None], other=0.0)
        if UPCAST:  # the interpreter would multiply the bits of bfloat16 as integers
            left = left.to(tl.float32)
            right = right.to(tl.float32)
        total = tl.dot(left, right, total, input_precision="ieee")
        x += BLOCK_D
        W += BLOCK_D
    return total


@triton.jit
def _error(
    scores: tl.tensor,
    reach: tl.tensor,
    length: tl.tensor,
    W_length: tl.tensor,
    W_slack: tl.tensor,
    tokens: tl.tensor,
    latents: tl.tensor,
    here: tl.tensor,
    there: tl.tensor,
    SHARE: tl.constexpr,
) -> tl.tensor:
    """The bound of the errors of scores."""
    mine = tl.load(reach + tokens, mask=here, other=0.0)[:, None]
    long = tl.load(length + tokens, mask=here, other=0.0)[:, None]
    theirs = tl.load(W_length + latents, mask=there, other=0.0)[None, :]
    slack = tl.load(W_slack + latents, mask=there, other=0.0)[None, :]
    error = SHARE * tl.abs(scores) + 1e-30  # first what has the layout of the scores
    error += mine * theirs
    error += long * slack
    return error


@triton.jit(do_not_specialize=["num_tokens", "num_latents", "blocks", "STRIDE"])
def maxima_kernel(
    maxima: tl.tensor,
    x: tl.tensor,
    W: tl.tensor,
    b: tl.tensor,
    reach: tl.tensor,
    length: tl.tensor,
    W_length: tl.tensor,
    W_slack: tl.tensor,
    num_tokens: int,
    num_latents: int,
    width: int,
    blocks: int,
    STRIDE: int,
    GROUP: tl.constexpr,
    TOGETHER: tl.constexpr,
    SHARE: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    block_t, block_f = _tile_at(num_tokens, blocks, BLOCK_T, TOGETHER)
    tokens = block_t * BLOCK_T + tl.arange(0, BLOCK_T)
    latents = block_f * STRIDE * BLOCK_F + tl.arange(0, BLOCK_F)
    here = tokens < num_tokens
    there = latents < num_latents
    scores = _scores(x, W, tokens, latents, num_tokens, num_latents, width, EVEN, UPCAST, BLOCK_T, BLOCK_F, BLOCK_D)
    scores += tl.load(b + latents, mask=there, other=0.0)[None, :]
    error = _error(scores, reach, length, W_length, W_slack, tokens, latents, here, there, SHARE)
    PER_BLOCK: tl.constexpr = BLOCK_F // GROUP
    lower = tl.where(there[None, :] & (tl.abs(scores) < float("inf")), scores - error, float("-inf"))
    largest = tl.max(tl.reshape(lower, (BLOCK_T, PER_BLOCK, GROUP)), axis=2)
    groups = block_f * PER_BLOCK + tl.arange(0, PER_BLOCK)
    places = tokens.to(tl.int64)[:, None] * (blocks * PER_BLOCK) + groups[None, :]
    tl.store(maxima + places, largest, mask=here[:, None])


@triton.jit
def _write_part(
    scores: tl.tensor,
    first_latent: tl.tensor,
    tokens: tl.tensor,
    floor_T: tl.tensor,
    floor_F: tl.tensor,
    begins: tl.tensor,
    room: tl.tensor,
    counts: tl.tensor,
    out_spans: tl.tensor,
    out_scores: tl.tensor,
    b: tl.tensor,
    reach: tl.tensor,
    length: tl.tensor,
    W_length: tl.tensor,
    W_slack: tl.tensor,
    num_tokens: int,
    num_latents: int,
    SPAN: tl.constexpr,
    SHARE: tl.constexpr,
) -> None:
    ROWS: tl.constexpr = scores.shape[0]
    SPANS: tl.constexpr = scores.shape[1] // SPAN
    latents = first_latent + tl.arange(0, scores.shape[1])
    here = tokens < num_tokens
    there = latents < num_latents
    scores += tl.load(b + latents, mask=there, other=0.0)[None, :]
    error = _error(scores, reach, length, W_length, W_slack, tokens, latents, here, there, SHARE)
    upper = tl.where(tl.abs(scores) < float("inf"), scores + error, float("inf"))  # overflow tells nothing
    least = tl.load(floor_T + tokens, mask=here, other=0.0)[:, None]
    above = tl.load(floor_F + latents, mask=there, other=0.0)[None, :]
    wanted = ((upper >= least) & (upper > above) & here[:, None] & there[None, :]).to(tl.int32)
    wanted = tl.max(tl.reshape(wanted, (ROWS, SPANS, SPAN)), axis=2)
    found = tl.sum(wanted, axis=1)
    start = tl.atomic_add(counts + tokens, found, mask=found > 0)  # one count for each token: sums of integers
    place = start[:, None] + tl.cumsum(wanted, axis=1) - 1
    fits = (wanted > 0) & (place < tl.load(room + tokens, mask=here, other=0)[:, None])
    slot = tl.load(begins + tokens, mask=here, other=0)[:, None] + place
    spans = (first_latent // SPAN + tl.arange(0, SPANS))[None, :]
    tl.store(out_spans + slot, tl.broadcast_to(spans, (ROWS, SPANS)), mask=fits)
    cells = slot[:, :, None] * SPAN + tl.arange(0, SPAN)[None, None, :]
    tl.store(out_scores + cells, tl.reshape(scores, (ROWS, SPANS, SPAN)), mask=fits[:, :, None])


@triton.jit(do_not_specialize=["num_tokens", "num_latents", "blocks"])
def write_kernel(
    floor_T: tl.tensor,
    floor_F: tl.tensor,
    begins: tl.tensor,
    room: tl.tensor,
    counts: tl.tensor,
    out_spans: tl.tensor,
    out_scores: tl.tensor,
    x: tl.tensor,
    W: tl.tensor,
    b: tl.tensor,
    reach: tl.tensor,
    length: tl.tensor,
    W_length: tl.tensor,
    W_slack: tl.tensor,
    num_tokens: int,
    num_latents: int,
    width: int,
    blocks: int,
    SPAN: tl.constexpr,
    TOGETHER: tl.constexpr,
    SHARE: tl.constexpr,
    EVEN: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    block_t, block_f = _tile_at(num_tokens, blocks, BLOCK_T, TOGETHER)
    tokens = block_t * BLOCK_T + tl.arange(0, BLOCK_T)
    first = block_f * BLOCK_F
    latents = first + tl.arange(0, BLOCK_F)
    scores = _scores(x, W, tokens, latents, num_tokens, num_latents, width, EVEN, UPCAST, BLOCK_T, BLOCK_F, BLOCK_D)
    # One half of the columns after the other: what marks and places the entries of a whole tile would not fit in
    # registers beside its scores.
    left, right = tl.split(tl.permute(tl.reshape(scores, (BLOCK_T, 2, BLOCK_F // 2)), (0, 2, 1)))
    _write_part(
        left, first, tokens, floor_T, floor_F, begins, room, counts, out_spans, out_scores,
        b, reach, length, W_length, W_slack, num_tokens, num_latents, SPAN, SHARE,
    )  # fmt: skip
    _write_part(
        right, first + BLOCK_F // 2, tokens, floor_T, floor_F, begins, room, counts, out_spans, out_scores,
        b, reach, length, W_length, W_slack, num_tokens, num_latents, SPAN, SHARE,
    )  # fmt: skip
