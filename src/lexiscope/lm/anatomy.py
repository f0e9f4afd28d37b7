"""Which module of a loaded model is meant by a hook point."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.families import Family, family_of
from lexiscope.lm.hooks import Site
from lexiscope.lm.neurons import output_directions


class Anatomy:
    """The parts of a causal LM: from the table of families, or from its structure where no row describes it.

    Without a row, ``embed``, ``resid_pre`` and ``resid_post`` still work, and so does any ``module:<path>``.
    """

    def __init__(self, module: nn.Module, config: Any) -> None:
        """Take ``module`` apart, with the configuration of its text part."""
        self._module = module
        self._row: Family | None = family_of(module.config.model_type)  # type: ignore[union-attr, arg-type]
        self.family: str = self._row.name if self._row else f"unknown ({config.model_type})"
        self.blocks: list[nn.Module] = (
            list(cast(nn.ModuleList, module.get_submodule(self._row.blocks)))
            if self._row
            else _largest_stack(module, config.num_hidden_layers)
        )

    def hook_points(self) -> list[HookPoint]:
        """Every hook point but the modules, in the order of the forward pass."""
        order = (
            ("resid_pre", "attn_out", "mlp_in", "mlp_out", "resid_post") if self._row else ("resid_pre", "resid_post")
        )
        layered = [HookPoint(site, layer) for layer in range(len(self.blocks)) for site in order]
        return [HookPoint("embed"), *layered] if self.blocks else []

    def site(self, hook: HookPoint) -> Site:
        """The place that a hook point means.

        Raises:
            InputError: this model has no such place.
        """
        name = str(hook)
        if hook.site == "module":
            return Site(name, self._submodule(cast(str, hook.path)), "output")
        if not self.blocks:
            raise InputError(
                f"{name}: can't tell which parts of {self.family} are its layers; write module:<dotted path>"
            )
        layer = hook.layer or 0
        if layer >= len(self.blocks):
            raise InputError(f"{name}: this model has layers 0 to {len(self.blocks) - 1}; choose one of them")
        block = self.blocks[layer]
        if hook.site in ("embed", "resid_pre"):
            return Site(name, block, "input")
        if hook.site == "resid_post":
            return Site(name, block, "output")
        if self._row is None:
            raise InputError(
                f"{name}: the table of model families has no row for {self.family}, so only embed, resid_pre.N and "
                "resid_post.N are known; write module:<dotted path> instead"
            )
        path = {"attn_out": self._row.attn_out, "mlp_in": self._row.mlp_in, "mlp_out": self._row.mlp_out}[hook.site]
        return Site(name, block.get_submodule(path), "input" if hook.site == "mlp_in" else "output")

    def neurons(self, layer: int, width: int) -> Tensor:
        """What one unit of each neuron of a block's MLP adds to the residual stream, [N, D].

        Raises:
            InputError: there is no such block, or this can't be told.
        """
        self.site(HookPoint("resid_post", layer))
        if self._row is None or "norm" in self._row.mlp_out:
            why = "has no row in the table" if self._row is None else "normalises what its MLPs give"
            raise InputError(f"can't tell what the neurons of {self.family} write: it {why}; leave neurons out")
        found = output_directions(self.blocks[layer].get_submodule(self._row.mlp_out), width)
        if found is None:
            raise InputError(f"the MLP of block {layer} does not end in a linear map; leave neurons out")
        return found

    def final_maps(self) -> tuple[nn.Module | None, nn.Linear | None]:
        """Final norm, and the linear map between it and the unembedding; None for what the model does without.

        Raises:
            InputError: the family is unknown and nothing looks like its final norm.
        """
        if self._row:
            return self._optional(self._row.final_norm), cast(
                nn.Linear | None, self._optional(self._row.final_projection)
            )
        norms = [module for name, module in self._after_blocks() if "norm" in name or name == "ln_f"]
        if len(norms) != 1:
            raise InputError(f"can't tell which is the final norm of {self.family}; add its row to lm/families.py")
        return norms[0], None

    def _after_blocks(self) -> list[tuple[str, nn.Module]]:
        """What stands behind the list of blocks, in the module that holds it."""
        for holder in self._module.modules():
            parts = list(holder.named_children())
            for place, (_, part) in enumerate(parts):
                if isinstance(part, nn.ModuleList) and self.blocks and list(part) == self.blocks:
                    return parts[place + 1 :]
        return []

    def _optional(self, path: str | None) -> nn.Module | None:
        """The module at a path, None where the model leaves it out (some sizes of OPT do)."""
        if path is None:
            return None
        holder, _, name = path.rpartition(".")
        return cast(nn.Module | None, getattr(self._module.get_submodule(holder), name))

    def _submodule(self, path: str) -> nn.Module:
        try:
            return self._module.get_submodule(path)
        except AttributeError:
            known = [name for name, _ in self._module.named_modules() if name]
            parent = path.rpartition(".")[0]
            near = [name for name in known if name.rpartition(".")[0] == parent] or known[:8]
            raise InputError(f"this model has no module {path!r}; near it are {', '.join(near[:8])}") from None


def _largest_stack(module: nn.Module, num_layers: int) -> list[nn.Module]:
    """The list of ``num_layers`` modules with the most weights; empty where there is none."""
    stacks = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == num_layers]
    sizes = [sum(weight.numel() for weight in stack.parameters()) for stack in stacks]
    return list(stacks[sizes.index(max(sizes))]) if stacks else []
