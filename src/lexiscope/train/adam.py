"""Adam for dictionaries: unit rows, clipping and the update in two passes over the weights.

    g ← g - ⟨g, w⟩ w                          for rows w that are kept at length 1
    g ← g · min(1, clip / ‖g‖)                ‖g‖ over all parameters, after the line above
    m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²
    w ← w - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
    w ← w / ‖w‖                               for those rows again

The first pass reads the gradient and finds ⟨g, w⟩ and ‖g‖, the second does the rest. A row without gradient still lets
its moments decay and still moves by them, as in torch.optim.Adam: nothing is lazy. Removing the part along w first
keeps Adam's moments free of what renormalising takes back.

It is not a torch.optim.Optimizer: the first of these loads torch's compiler, a second and 145 MB at the start of every
run, for features that nothing here needs.

Sources: Kingma and Ba 2015, "Adam"; Bricken et al. 2023, "Towards Monosemanticity" (the gradient along rows).
A row is what the last dimension holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels import adam


class Adam:
    """See the top of this file.

    Args:
        parameters: what moves; those without a gradient stay where they are.
        unit_rows: parameters, among them, whose rows are kept at length 1.
        grad_clip: largest norm of the gradient over all parameters; None: any.
        state_bits: 32, or 8 for blocks of 8-bit moments: a quarter of the memory, for dictionaries too large otherwise
            (see `lexiscope.saes.kernels.eight_bit`). Parameters of one dimension keep 32.

    Attributes:
        lr: rate of the next step.
        state: what is kept of every parameter that has moved: its moments, and ``step``, the number of its steps.

    Raises:
        InputError: a setting is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
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
        self.parameters = list(parameters)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.grad_clip = grad_clip
        self.state_bits = state_bits
        self.state: dict[Tensor, dict[str, Tensor]] = {parameter: {} for parameter in self.parameters}
        self._unit_rows = {id(parameter) for parameter in unit_rows}
        if not self._unit_rows <= set(map(id, self.parameters)):
            raise InputError("unit_rows names a tensor that is not among the parameters")

    def zero_grad(self) -> None:
        """Forget the gradients, and give their memory back."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, accept: Callable[[Tensor], bool] = lambda _: True) -> Tensor:
        """One step with the gradients as they are. Returns their norm before clipping, a float32 scalar.

        Args:
            accept: given the norm, says whether to move at all.
        """
        work = [(parameter, parameter.grad.contiguous()) for parameter in self.parameters if parameter.grad is not None]
        if not work:
            return torch.zeros(())
        looks = [adam.look(grad, parameter if id(parameter) in self._unit_rows else None) for parameter, grad in work]
        norm = torch.stack([look.square_norm for look in looks]).sum().sqrt()
        if not accept(norm):
            return norm.float()
        scale = None if self.grad_clip is None else (self.grad_clip / (norm + 1e-6)).clamp(max=1.0)
        for (parameter, grad), look in zip(work, looks, strict=True):
            state = self._state_of(parameter)
            state["step"] += 1
            rates = adam.Rates(self.lr, *self.betas, self.eps, int(state["step"]))
            adam.update(parameter, grad, state, rates, scale, look.parallel_R)
        return norm.float()

    @torch.no_grad()
    def reset_rows(self, parameter: Tensor, rows: Tensor) -> None:
        """Forget the moments of these rows (of the first dimension): they start again somewhere else."""
        for name, tensor in self.state[parameter].items():
            if name != "step":
                tensor[rows] = 0

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next step depends on besides parameters and settings: ``0.first`` and so on, by place."""
        return {
            f"{place}.{name}": tensor
            for place, parameter in enumerate(self.parameters)
            for name, tensor in self.state[parameter].items()
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` gave for parameters of the same shapes."""
        for place, parameter in enumerate(self.parameters):
            self.state[parameter].clear()
            mine = {name: tensor for name, tensor in state.items() if name.startswith(f"{place}.")}
            for name in self._state_of(parameter) if mine else ():
                self.state[parameter][name].copy_(mine[f"{place}.{name}"])

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state.update(adam.fresh_moments(parameter, self.state_bits))
        return state
