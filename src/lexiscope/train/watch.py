"""Watch: looks at a run and writes down what it sees. It never changes the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.progress import Task
from lexiscope.saes import Batch, SparseAutoencoder
from lexiscope.train.check import fidelity
from lexiscope.train.config import TrainConfig
from lexiscope.train.dead import DeadLatents
from lexiscope.train.sinks import Sink


class Step(NamedTuple):
    """What happened in one optimizer step. Scalars stay tensors until somebody reads them."""

    number: int
    codes: SparseCodes
    terms: dict[str, Tensor]
    grad_norm: Tensor
    lr: float
    dead: DeadLatents
    sparsity_scale: float


class Watch:
    """Logs every ``log_every_steps`` and evaluates on held-out tokens every ``evaluate_every_steps`` and at the end."""

    def __init__(
        self, config: TrainConfig, sae: SparseAutoencoder, heldout: Sequence[Batch], sinks: Sequence[Sink], task: Task
    ) -> None:
        self._config, self._sae, self._heldout, self._sinks, self._task = config, sae, heldout, sinks, task
        self._note = ""

    def see(self, step: Step) -> None:
        last = step.number == self._config.steps - 1
        values: dict[str, float] = {}
        if step.number % self._config.log_every_steps == 0 or last:
            values |= {
                "tokens": (step.number + 1) * self._config.batch_tokens,
                **{f"loss/{name}": term.item() for name, term in step.terms.items()},
                "l0": len(step.codes) / step.codes.num_tokens,
                "dead_fraction": step.dead.mask_F.float().mean().item(),
                "grad_norm": step.grad_norm.item(),
                "lr": step.lr,
                "sparsity_scale": step.sparsity_scale,
            }
        if (step.number + 1) % self._config.evaluate_every_steps == 0 or last:
            l0, fvu = fidelity(self._sae, self._heldout)
            values |= {"heldout/l0": l0, "heldout/fvu": fvu}
        if values:
            self._note = f"loss {values['loss/reconstruction']:.3f}" if "loss/reconstruction" in values else self._note
            for sink in self._sinks:
                sink.write(step.number + 1, values)
        self._task.advance(step.codes.num_tokens, self._note)
