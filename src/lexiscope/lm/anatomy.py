"""Which module of a loaded model is meant by a hook point."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import LAYER_SITES, HookPoint
from lexiscope.lm.families import Family, family_of
from lexiscope.lm.hooks import Site


class Anatomy:
    """The parts of a causal LM: from the table of families, or from its structure where no row describes it.

    Without a row, ``embed``, ``resid_pre`` and ``resid_post`` still work, and so does any ``module:<path>``.
    """

    def __init__(self, module: nn.Module, config: Any) -> None:
        """
        Args:
            module: the causal LM.
            config: the configuration of its text part.

        Raises:
            InputError: it has no list of blocks that could be its layers.
        """
        self._module = module
        self._row: Family | None = family_of(module.config.model_type)  # type: ignore[union-attr, arg-type]
        self.family: str = self._row.name if self._row else f"unknown ({config.model_type})"
        self.blocks: list[nn.Module] = (
            list(cast(nn.ModuleList, module.get_submodule(self._row.blocks)))
            if self._row
            else _longest_stack(module, config.num_hidden_layers)
        )

    def hook_points(self) -> list[HookPoint]:
        """Every hook point but the modules, in the order of the forward pass."""
        sites = list(LAYER_SITES) if self._row else ["resid_pre", "resid_post"]
        order = [site for site in ("resid_pre", "attn_out", "mlp_in", "mlp_out", "resid_post") if site in sites]
        layered = [HookPoint(site, layer) for layer in range(len(self.blocks)) for site in order]
        return [HookPoint("embed"), *layered]

    def site(self, hook: HookPoint) -> Site:
        """
        Raises:
            InputError: this model has no such place.
        """
        name = str(hook)
        if hook.site == "module":
            return Site(name, self._submodule(cast(str, hook.path)), "output")
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

    def final_maps(self) -> tuple[nn.Module | None, nn.Module | None]:
        """Final norm, and the linear map between it and the unembedding; None for what the model does without.

        Raises:
            InputError: the family is unknown and nothing looks like its final norm.
        """
        if self._row:
            return self._optional(self._row.final_norm), self._optional(self._row.final_projection)
        holder = next(
            part for part in self._module.modules() if any(_is_list_of(child, self.blocks) for child in part.children())
        )
        norms = [child for name, child in holder.named_children() if "norm" in name or name == "ln_f"]
        if len(norms) != 1:
            raise InputError(f"can't tell which is the final norm of {self.family}; add its row to lm/families.py")
        return norms[0], None

    def _optional(self, path: str | None) -> nn.Module | None:
        part: Any = self._module
        for name in path.split(".") if path else ():
            part = getattr(part, name, None)
        return part if path else None

    def _submodule(self, path: str) -> nn.Module:
        try:
            return self._module.get_submodule(path)
        except AttributeError:
            known = [name for name, _ in self._module.named_modules() if name]
            parent = path.rpartition(".")[0]
            near = [name for name in known if name.rpartition(".")[0] == parent] or known[:8]
            raise InputError(f"this model has no module {path!r}; near it are {', '.join(near[:8])}") from None


def _longest_stack(module: nn.Module, num_layers: int) -> list[nn.Module]:
    stacks = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == num_layers]
    if not stacks:
        raise InputError(
            f"found no list of {num_layers} blocks in this {type(module).__name__}; add its row to lm/families.py"
        )
    return list(max(stacks, key=lambda stack: sum(weight.numel() for weight in stack.parameters())))


def _is_list_of(module: nn.Module, blocks: list[nn.Module]) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) == len(blocks) and module[0] is blocks[0]
