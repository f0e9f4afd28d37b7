"""Watch: looks at a run and writes down what it sees. It never changes the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lexiscope.core.progress import Task
from lexiscope.saes import Batch, SparseAutoencoder
from lexiscope.train.check import fidelity
from lexiscope.train.collapse import CollapseWarning, Guard
from lexiscope.train.config import TrainConfig
from lexiscope.train.sinks import Sinks
from lexiscope.train.step import Step


class Watch:
    """Logs every ``log_every_steps`` and evaluates on held-out tokens every ``evaluate_every_steps`` and at the end.

    Args:
        name: of the run, for warnings.

    Attributes:
        warnings: what a `Guard` has found so far.
    """

    def __init__(
        self,
        name: str,
        config: TrainConfig,
        sae: SparseAutoencoder,
        heldout: Callable[[], Iterable[Batch]],
        sinks: Sinks,
        task: Task,
    ) -> None:
        self._name, self._config, self._sae = name, config, sae
        self._heldout, self._sinks, self._task = heldout, sinks, task
        self._guard = Guard(sae, config)
        self._notes: dict[str, str] = {}
        self.warnings: list[str] = []

    def see(self, step: Step) -> None:
        """Write down what there is to say about a step.

        Raises:
            TrainingError: a loss is not finite.
        """
        last = step.number == self._config.steps - 1
        values: dict[str, float] = {}
        for finding in () if step.left_out else self._guard.look(step):
            self._warn(finding.text, finding.name, values)
        if step.spike:
            self._warn(f"step {step.number + 1}: {step.spike}", "spike", values)
        if not step.left_out and (step.number % self._config.log_every_steps == 0 or last):
            values |= {
                "tokens": (step.number + 1) * self._config.batch_tokens,
                **{f"loss/{name}": term.item() for name, term in step.terms.items()},
                "l0": len(step.codes) / step.codes.num_tokens,
                "dead_fraction": step.dead.mask_F.float().mean().item(),
                "grad_norm": step.grad_norm.item(),
                "lr": step.lr,
                "sparsity_scale": step.sparsity_scale,
            }
            if "loss/reconstruction" in values:
                self._notes["loss"] = f"loss {values['loss/reconstruction']:.3f}"
            self._notes["dead"] = f"{values['dead_fraction']:.1%} dead"
        if (step.number + 1) % self._config.evaluate_every_steps == 0 or last:
            l0, fvu = fidelity(self._sae, self._heldout())
            values |= {"heldout/l0": l0, "heldout/fvu": fvu}
        if values:
            self._sinks.write(step.number + 1, values)
        self._task.advance(step.codes.num_tokens, ", ".join(self._notes.values()))

    def state(self) -> dict[str, Any]:
        """For `restore`, ready for JSON."""
        return {"guard": self._guard.state(), "notes": self._notes, "warnings": self.warnings}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._guard.restore(state["guard"])
        self._notes, self.warnings = dict(state["notes"]), list(state["warnings"])

    def _warn(self, text: str, name: str, values: dict[str, float]) -> None:
        self.warnings.append(text)
        self._notes["warning"] = f"warning: {name.replace('_', ' ')}"
        values[f"warning/{name}"] = 1.0
        warnings.warn(f"{self._name}: {text}", CollapseWarning, stacklevel=3)
