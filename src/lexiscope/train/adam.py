"""Adam for dictionaries: gradients clipped as a whole, rows that must have unit length kept there.

A row w of unit length learns along the sphere: the part of its gradient parallel to w would only change a length that is
put back at once, and would fill the moments. The rest is Kingma and Ba 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lexiscope.saes.parts import make_unit_rows


class Adam(torch.optim.Optimizer):
    """Args:
    unit_rows: parameters whose rows start at length 1 and stay there.
    grad_clip: largest norm of the gradient over all parameters. None: no limit.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        unit_rows: Sequence[nn.Parameter] = (),
        grad_clip: float | None = None,
    ) -> None:
        super().__init__(list(params), {"lr": lr, "betas": betas, "eps": eps})
        self._unit_rows = list(unit_rows)
        self._grad_clip = grad_clip

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Tensor:  # type: ignore[override]
        """Move the parameters. Returns the norm of the whole gradient before clipping."""
        assert closure is None
        for W_FD in self._unit_rows:
            if W_FD.grad is not None:
                parallel_F = torch.linalg.vecdot(W_FD.grad, W_FD)
                W_FD.grad.addcmul_(parallel_F[:, None], W_FD, value=-1)
        (group,) = self.param_groups
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        grads = [parameter.grad for parameter in moving]
        norm = torch.nn.utils.get_total_norm(grads)
        scale = None if self._grad_clip is None else (norm / self._grad_clip).clamp_min(1.0)
        states = [self._state(parameter) for parameter in moving]
        torch._fused_adam_(  # what torch.optim.Adam(fused=True) calls; it divides gradients by grad_scale
            moving,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"].add_(1) for state in states],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
        )
        for W_FD in self._unit_rows:
            make_unit_rows(W_FD)
        return norm

    def reset_rows(self, parameter: nn.Parameter, rows: Tensor) -> None:
        """Forget the moments of some rows."""
        state = self._state(parameter)
        state["exp_avg"][rows] = 0
        state["exp_avg_sq"][rows] = 0

    def _state(self, parameter: nn.Parameter) -> dict[str, Any]:
        state = cast(dict[str, Any], self.state[parameter])
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state
