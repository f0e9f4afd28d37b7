"""What a direction in the residual stream does to the logits on its own.

Shapes: N directions, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def direct_effects(
    directions_ND: Tensor, *, norm: nn.Module | None, projection: nn.Linear | None, unembedding: nn.Linear
) -> Tensor:
    """Logits per unit of each direction, through the linear part of the final norm, centred to mean 0 over V.

    The norm's division by the size of the residual stream is left out (it differs from token to token): divide by that
    size for the effect at a token. Biases and soft caps on the logits are left out, too. float32 [N, V].
    """
    effects = directions_ND.to(unembedding.weight.device, torch.float32)
    if norm is not None:
        gain_D, centres = _linear_part(norm, effects.shape[-1], effects.device)
        effects = (effects - effects.mean(-1, keepdim=True) if centres else effects) * gain_D
    for linear in (projection, unembedding):
        if linear is not None:
            effects = effects @ linear.weight.float().T
    return effects - effects.mean(-1, keepdim=True)


@torch.no_grad()
def _linear_part(norm: nn.Module, width: int, device: torch.device) -> tuple[Tensor, bool]:
    """The gain of each dimension, and whether the norm takes the mean off, found by probing it.

    Any LayerNorm or RMSNorm answers, however it keeps its weight (Gemma's gain is 1 + weight). The probe has mean 0 and
    no zeros, and is so large that the norm's epsilon does not matter.
    """
    dtype = next((weight.dtype for weight in norm.parameters()), torch.float32)
    half = (width + 1) // 2
    probe_D = torch.tensor([width - half] * half + [-half] * (width - half), device=device, dtype=torch.float32)
    probe_D *= 1000 / half
    ones_D = torch.full_like(probe_D, 1000.0)

    def odd_part(x_D: Tensor) -> Tensor:
        x_11D = x_D.to(dtype)[None, None]
        difference_11D: Tensor = norm(x_11D).float() - norm(-x_11D).float()
        return difference_11D[0, 0] / 2

    gain_D = odd_part(probe_D) * probe_D.square().mean().sqrt() / probe_D
    return gain_D, bool(odd_part(ones_D).abs().max() < 1e-2 * gain_D.abs().max())
