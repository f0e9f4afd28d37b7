"""Beside a feature: directions to compare it with, and what adds a direction to activations, whichever it is.

B examples, C tokens per context, E width of all that is written, D of one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes.base import SparseAutoencoder


def directions(
    sae: SparseAutoencoder,
    feature: int,
    examples: int,
    widths: Sequence[int],
    others: Tensor | None,
    random: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """What one unit writes, for every example, float32 [B, E] on the CPU: the feature's own direction, another
    feature's, a random one. Each is as long as the feature's own at every place that is written.

    Args:
        widths: of the places that are written.
        others: numbers of the features that serve as controls; None: all.
    """
    own_E = sae.directions_FD[feature].detach().float().cpu()
    pool = torch.arange(sae.num_latents) if others is None else others
    pool = pool[pool != feature]
    noise_BE = torch.randn((examples, len(own_E)), generator=random)
    other_BE = noise_BE
    if len(pool):  # a dictionary of one feature has no other
        drawn = pool[torch.randint(len(pool), (examples,), generator=random)]
        other_BE = sae.directions_FD[drawn.to(sae.directions_FD.device)].detach().float().cpu()
    return own_E.expand(examples, -1), _as_long(other_BE, own_E, widths), _as_long(noise_BE, own_E, widths)


def shifted(
    at: Mapping[HookPoint, Tensor], writes: Sequence[HookPoint], amounts_BC: Tensor, vectors_BE: Tensor
) -> dict[HookPoint, Callable[[Tensor], Tensor]]:
    """For `LanguageModel.splice`: amount · vector is added on every token.

    A crosscoder writes several places, and what is added at the first is still there at the next: where an amount is
    not 0, the activation becomes that of the untouched model and the vector, so that nothing is added twice.

    Args:
        at: the untouched activations [B, C, D]; needed only where there are several places.
    """
    several = len(writes) > 1
    parts = torch.split(vectors_BE, [at[hook].shape[2] for hook in writes], 1) if several else [vectors_BE]

    def add(hook: HookPoint, vectors_BD: Tensor) -> Callable[[Tensor], Tensor]:
        def visit(x_BCD: Tensor) -> Tensor:
            amounts = amounts_BC[:, :, None].to(x_BCD.device)
            base_BCD = torch.where(amounts != 0, at[hook].to(x_BCD.device), x_BCD) if several else x_BCD
            return (base_BCD.float() + amounts * vectors_BD[:, None].to(x_BCD.device)).to(x_BCD.dtype)

        return visit

    return {hook: add(hook, part_BD) for hook, part_BD in zip(writes, parts, strict=True)}


def _as_long(vectors_BE: Tensor, own_E: Tensor, widths: Sequence[int]) -> Tensor:
    pieces = zip(torch.split(own_E, list(widths)), torch.split(vectors_BE, list(widths), dim=1), strict=True)
    return torch.cat([torch.nn.functional.normalize(part_BD, dim=1) * own_D.norm() for own_D, part_BD in pieces], dim=1)
