"""Adam for dictionaries: unit rows, clipping and the update in two passes over the weights.

    g ← g - ⟨g, w⟩ w                          for rows w that are kept at length 1
    g ← g · min(1, clip / ‖g‖)                ‖g‖ over all parameters, after the line above
    m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²
    w ← w - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
    w ← w / ‖w‖                               for those rows again

The first pass reads the gradient and finds ⟨g, w⟩ and ‖g‖, the second does the rest. A row without gradient still lets
its moments decay and still moves by them, as in torch.optim.Adam: nothing is lazy. Removing the part along w first
keeps Adam's moments free of what renormalising takes back.

Sources: Kingma and Ba 2015, "Adam"; Bricken et al. 2023, "Towards Monosemanticity" (the gradient along rows).
A row is what the last dimension holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels import adam


class Adam(torch.optim.Optimizer):
    """See the top of this file.

    Args:
        params: parameters or groups of them, as for any optimizer of torch. Groups may differ in lr, betas and eps.
        unit_rows: parameters, among them, whose rows are kept at length 1.
        grad_clip: largest norm of the gradient over all parameters; None: any.
        state_bits: 32, or 8 for blocks of 8-bit moments: a quarter of the memory, for dictionaries too large otherwise
            (see `lexiscope.saes.kernels.eight_bit`). Parameters of one dimension keep 32.

    Raises:
        InputError: a setting is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        unit_rows: Iterable[Tensor] = (),
        grad_clip: float | None = None,
        state_bits: int = 32,
    ) -> None:
        if state_bits not in (8, 32):
            raise InputError(f"state_bits is {state_bits}; choose 32 or 8")
        if not all(0 <= beta < 1 for beta in betas):
            raise InputError(f"betas are {betas}; both lie in 0 ≤ beta < 1")
        if grad_clip is not None and not grad_clip > 0:
            raise InputError(f"grad_clip is {grad_clip}; it is above 0, or None for no limit")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.grad_clip = grad_clip
        self.state_bits = state_bits
        self._unit_rows = {id(parameter) for parameter in unit_rows}
        ours = {id(parameter) for group in self.param_groups for parameter in group["params"]}
        if not self._unit_rows <= ours:
            raise InputError("unit_rows names a tensor that is not among the parameters")

    @torch.no_grad()
    def step(self, closure: None = None) -> Tensor:  # type: ignore[override]
        """One step with the gradients as they are. Returns their norm before clipping, a float32 scalar."""
        assert closure is None, "losses are not evaluated again here"
        work = [
            (parameter, parameter.grad.contiguous(), group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not work:
            return torch.zeros(())
        looks = [adam.look(grad, parameter if self._is_unit(parameter) else None) for parameter, grad, _ in work]
        norm = torch.stack([look.square_norm for look in looks]).sum().sqrt()
        scale = None if self.grad_clip is None else (self.grad_clip / (norm + 1e-6)).clamp(max=1.0)
        for (parameter, grad, group), look in zip(work, looks, strict=True):
            state = self._state_of(parameter)
            state["step"] += 1
            beta_1, beta_2 = group["betas"]
            rates = adam.Rates(group["lr"], beta_1, beta_2, group["eps"], int(state["step"]))
            adam.update(parameter, grad, state, rates, scale, look.parallel_R)
        return norm.float()

    @torch.no_grad()
    def reset_rows(self, parameter: Tensor, rows: Tensor) -> None:
        """Forget the moments of these rows (of the first dimension): they start again somewhere else."""
        for name, tensor in self.state.get(parameter, {}).items():
            if name != "step":
                tensor[rows] = 0

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As in torch, which would turn the codes of 8-bit moments into floats."""
        super().load_state_dict(dict(state_dict))
        for state in self.state.values():
            for name in adam.CODES & state.keys():
                state[name] = state[name].to(torch.uint8)

    def _is_unit(self, parameter: Tensor) -> bool:
        return id(parameter) in self._unit_rows

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state.update(adam.fresh_moments(parameter, self.state_bits))
        return state
