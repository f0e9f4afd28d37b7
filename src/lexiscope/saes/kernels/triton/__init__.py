"""The kernels in Triton, for CUDA devices. Its interpreter runs them anywhere, slowly, which is how they are tested.

    select.py     select_topk, select_above, select_batch_topk: scores that never become a [tokens, latents] matrix
    gather.py     weighted_rows, row_dots, weighted_columns: the sparse products
    adam.py       look, update: the two passes of Adam

Names and arguments are those of the files of the same name in `saes/kernels`. Behind select: `shortlist.py` (what could
belong in the result), `rounding.py` (operands in low precision, and how far off their products can be), `scores.py` and
`tiles.py` (tiles of scores), `prune.py` (shortlists cut down), `rank.py` (the k-th largest of a row).

What has been checked: every kernel gives the results of plain torch in Triton's interpreter, and compiles for compute
capability 9.0 at the sizes of `bench/gpu_kernels.py` with Triton 3.6, 3.7 and 3.9, where registers, spills and
instructions were read. What has not: none has run on a real GPU yet. Tile sizes, warps and stages are reasoned, not
measured; races between programs would not show in the interpreter, which runs one after another; no speed is claimed.

Importing this package loads nothing; its modules import triton.
"""
