"""Plain forward hooks on a module, for as long as a ``with`` block lasts.

Shapes: B contexts, C tokens per context, D width of the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint

Visit = Callable[[Tensor], Tensor | None]
"""Sees an activation x_BCD; a tensor that it returns takes the activation's place."""


@dataclass(frozen=True)
class Site:
    """What enters or leaves a module. ``name`` is for messages."""

    name: str
    module: nn.Module
    side: Literal["input", "output"]


class Pass(NamedTuple):
    """A forward pass that is under way: what it reads."""

    tokens_BC: Tensor | None
    """None where a caller gave embeddings instead."""
    contexts: int
    length: int
    """C, how many tokens of each context."""
    first: int
    """Position of the first of them: how many came before in a cache."""


class _Enough(Exception):  # noqa: N818 (no error: it ends a forward pass whose rest nobody needs)
    pass


@contextmanager
def visiting(root: nn.Module, visits: Sequence[tuple[Site, Visit]], passes: list[Pass] | None = None) -> Iterator[None]:
    """Call each visit whenever its site comes by in a forward pass of ``root``; visits to one site run in order.

    Args:
        passes: filled with the passes under way, the innermost last: a visit may run the model itself.
    """
    passes = [] if passes is None else passes
    outside = len(passes)

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = args[0] if args else kwargs.get("input_ids")
        shape = (kwargs["inputs_embeds"] if tokens is None else tokens).shape
        past = kwargs.get("past_key_values")
        passes.append(Pass(tokens, shape[0], shape[1], 0 if past is None else past.get_seq_length()))

    def leave(*_: object) -> None:
        passes.pop()

    handles = [
        root.register_forward_pre_hook(enter, with_kwargs=True),
        root.register_forward_hook(leave, always_call=True),  # also of a pass that ends early
    ]
    try:
        for site, visit in visits:
            if site.side == "input":
                handles.append(site.module.register_forward_pre_hook(_before(site, visit, passes), with_kwargs=True))
            else:
                handles.append(site.module.register_forward_hook(_after(site, visit, passes)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        del passes[outside:]  # an interrupt leaves a pass without its end


def capture(root: nn.Module, sites: Mapping[HookPoint, Site], run: Callable[[], object]) -> dict[HookPoint, Tensor]:
    """The activations at ``sites``, from the first time that each comes by; ``run`` is left as soon as all are there.

    They are copies: a model that later changes the tensor in place does not change what was read.

    Raises:
        InputError: a site never came by, or gave something other than one activation per token.
    """
    found: dict[HookPoint, Tensor] = {}

    def keep(hook: HookPoint) -> Visit:
        def visit(x_BCD: Tensor) -> None:
            if hook not in found:
                found[hook] = x_BCD.clone()
            if len(found) == len(sites):
                raise _Enough

        return visit

    with visiting(root, [(site, keep(hook)) for hook, site in sites.items()]):
        try:
            run()
        except _Enough:
            return found
    missing = ", ".join(str(hook) for hook in sites if hook not in found)
    raise InputError(f"{missing} did not run in the forward pass of this model; choose another hook point")


def _before(site: Site, visit: Visit, passes: list[Pass]) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (_visit(site, visit, args[0], passes), *args[1:]), kwargs
        key = next((name for name, value in kwargs.items() if isinstance(value, Tensor)), "")
        return args, {**kwargs, key: _visit(site, visit, kwargs.get(key), passes)}

    return hook


def _after(site: Site, visit: Visit, passes: list[Pass]) -> Callable[..., Any]:
    def hook(_: nn.Module, _args: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return (_visit(site, visit, output[0], passes), *output[1:])
        return _visit(site, visit, output, passes)

    return hook


def _visit(site: Site, visit: Visit, x: Any, passes: list[Pass]) -> Tensor:
    if not isinstance(x, Tensor):
        raise InputError(f"{site.name} gives {type(x).__name__}, not a tensor; choose a module inside it")
    shape_BC = passes[-1][1:3] if passes else x.shape[:2]
    flat = bool(passes) and x.ndim == 2 and len(x) == math.prod(shape_BC)
    x_BCD = x.view(*shape_BC, -1) if flat else x  # some models (OPT) flatten contexts before their MLP
    fits = x_BCD.ndim == 3 and x_BCD.shape[:2] == shape_BC
    if not fits or not x_BCD.is_floating_point():
        raise InputError(
            f"{site.name} gives {x.dtype} of shape {list(x.shape)}, not one activation per context and token; "
            "choose another hook point"
        )
    new_BCD = visit(x_BCD)
    if new_BCD is None:
        return x
    if new_BCD.shape != x_BCD.shape:
        raise InputError(
            f"the replacement at {site.name} has shape {list(new_BCD.shape)} where {list(x_BCD.shape)} is needed"
        )
    return new_BCD.to(device=x.device, dtype=x.dtype).view(x.shape) if new_BCD is not x_BCD else x
