"""Where in a language model an activation is read or written.

A hook point is a small value written as text: ``resid_post.3``, ``embed``, ``module:model.layers.3.mlp.act_fn``.
It travels with the weights, so that an autoencoder knows which activations it belongs to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lexiscope.core.errors import InputError

LAYER_SITES = {
    "resid_pre": "residual stream as it enters block N",
    "resid_post": "residual stream as it leaves block N",
    "attn_out": "what the attention of block N adds to the residual stream",
    "mlp_in": "what the MLP of block N reads, after its norm",
    "mlp_out": "what the MLP of block N adds to the residual stream",
}
"""Sites inside a block, each with what is read there."""

_LAYERED = re.compile(r"(?P<site>[a-z_]+)\.(?P<layer>[0-9]{1,9})")
_TRANSFORMER_LENS = re.compile(
    r"blocks\.(?P<layer>[0-9]{1,9})\.hook_(?P<site>resid_pre|resid_post|attn_out|mlp_in|mlp_out)"
)


@dataclass(frozen=True)
class HookPoint:
    """A place in a language model.

    ``site`` is a key of `LAYER_SITES` (then ``layer`` counts blocks from 0), ``"embed"`` (token embeddings as they
    enter block 0), or ``"module"`` (then ``path`` is the dotted path of any submodule, whose output is meant).
    """

    site: str
    layer: int | None = None
    path: str | None = None

    @classmethod
    def parse(cls, text: str | HookPoint) -> HookPoint:
        """Read ``resid_post.3``, ``embed``, ``module:<path>`` or TransformerLens' ``blocks.3.hook_resid_post``.

        Raises:
            InputError: the text is none of these.
        """
        if isinstance(text, HookPoint):
            return text
        if text in {"embed", "hook_embed"}:
            return cls("embed")
        if text.startswith("module:") and len(text) > len("module:"):
            return cls("module", path=text.removeprefix("module:"))
        match = _TRANSFORMER_LENS.fullmatch(text) or _LAYERED.fullmatch(text)
        if match and match["site"] in LAYER_SITES:
            return cls(match["site"], layer=int(match["layer"]))
        known = ", ".join(f"{site}.N" for site in LAYER_SITES)
        raise InputError(f"no hook point is called {text!r}; write embed, {known} or module:<dotted path>")

    def __str__(self) -> str:
        if self.site == "module":
            return f"module:{self.path}"
        return self.site if self.layer is None else f"{self.site}.{self.layer}"
