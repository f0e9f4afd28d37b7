"""Direct logit effects, against the model's own logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel


def uncapped(model: LanguageModel, logits: Tensor) -> Tensor:
    cap = getattr(model.module.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.atanh(logits / cap)


def test_direct_effect_is_the_slope_of_the_logits_with_the_norm_frozen(every_model: LanguageModel) -> None:
    """Oracle: the logits at x + d less those at x - d, for d orthogonal to an x of mean 0.

    There the final norm divides both by the same size, so that the difference holds no curvature at all.
    """
    generator = torch.Generator().manual_seed(0)
    x_D = torch.randn(every_model.width, generator=generator)
    x_D = 10 * (x_D - x_D.mean())
    directions_ND = torch.randn(5, every_model.width, generator=generator)
    directions_ND -= (directions_ND @ x_D)[:, None] * x_D / x_D.square().sum()

    def logits_at(x_ND: Tensor) -> Tensor:
        with every_model.splice({HookPoint("resid_post", every_model.num_layers - 1): lambda _: x_ND[None]}):
            return uncapped(every_model, every_model.logits(torch.zeros(1, 5, dtype=torch.int64)))[0]

    moved_ND = x_D + directions_ND
    norm, _ = every_model._anatomy.final_maps()
    if norm is None:
        size_N1 = torch.ones(5, 1)
    elif isinstance(norm, nn.LayerNorm):
        size_N1 = moved_ND.std(-1, correction=0, keepdim=True)
    else:
        size_N1 = moved_ND.square().mean(-1, keepdim=True).sqrt()
    slope_NV = (logits_at(moved_ND) - logits_at(x_D - directions_ND)) / 2 * size_N1
    expected_NV = slope_NV - slope_NV.mean(-1, keepdim=True)
    effects_NV = every_model.unembed(directions_ND)
    assert effects_NV.dtype == torch.float32
    assert expected_NV.std() > 0.1
    assert torch.allclose(effects_NV, expected_NV, atol=2e-3)
