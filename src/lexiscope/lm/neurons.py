"""What the neurons of an MLP write. N neurons, D model width."""

from __future__ import annotations

from torch import Tensor, nn


def output_directions(mlp: nn.Module, width: int) -> Tensor | None:
    """What one unit of each neuron adds to the MLP's output, [N, D]: its last linear map to the model's width.

    None where there is no such map.
    """
    for part in reversed(list(mlp.modules())):
        weight = getattr(part, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            continue
        if isinstance(part, nn.Linear):
            return weight.detach().T if weight.shape[0] == width else None
        if type(part).__name__ == "Conv1D":  # GPT-2 keeps its weights the other way round
            return weight.detach() if weight.shape[1] == width else None
    return None
