"""SAELens with its option to multiply codes as torch.sparse tensors (TopK only).

Rescaling by decoder norms is off: with torch 2.15 it has no gradient for sparse codes.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from lexiscope.bench.peers import saelens
from lexiscope.bench.workload import Workload


def run(architecture: str, workload: Workload, batches: Iterator[Tensor]) -> None:
    saelens.run(architecture, workload, batches, use_sparse_activations=True, rescale_acts_by_decoder_norm=False)
