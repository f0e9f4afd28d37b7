"""Editor: what stands at the hook points of a dictionary while its features are changed (`lexiscope.steer.editing`).

N tokens that an intervention is for, J features touched, D width that is read, E width that is written, M tokens that
change.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.contexts import Places
from lexiscope.lm.hooks import Pass
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.parts import columns, without_gradients
from lexiscope.steer.applying.choosing import Chooser, Chosen
from lexiscope.steer.applying.source import check_source, codes_of
from lexiscope.steer.applying.steps import Ceiling, Lookup, Step, Whole, make_step
from lexiscope.steer.interventions import Add, AnyIntervention, Cap, Patch
from lexiscope.steer.strength import Units, in_activation, mean_over_tokens

ErrorTerm = Literal["keep", "drop"]


class _Change(NamedTuple):
    """What becomes of some tokens: ``add`` comes to what is there, or to ``base`` where there is one."""

    base_NE: Tensor | None
    add_NE: Tensor | None
    """None: nothing."""
    moved_N: Tensor | bool
    """Tokens that are not as they were; all or none of them."""


class Editor:
    """Interventions on one dictionary, ready for work: while its ``with`` block lasts the model's features are changed.

    May be entered again; the text of one block after another is taken to go on.
    """

    def __init__(
        self,
        model: LanguageModel,
        sae: SparseAutoencoder,
        places: Places,
        given: Sequence[AnyIntervention],
        units: Units | None,
        error: ErrorTerm,
        prompt_tokens: int | Sequence[int] | None,
    ) -> None:
        self._model, self._sae, self._places, self._given = model, sae, places, given
        self._blocks: list[AbstractContextManager[None]] = []
        self._drops = error == "drop"
        self._several = len(places.reads) > 1
        self._chooser = Chooser(model, given, prompt_tokens)
        at_work = [(number, one) for number, one in enumerate(given) if one.share]
        steps = [one for _, one in at_work if one.features is not None and not isinstance(one, Cap)]
        features = sorted({feature for one in steps for feature in one.features or ()})
        look = Lookup(
            column={feature: place for place, feature in enumerate(features)},
            activation=functools.partial(in_activation, units),
            mean_over_tokens=functools.partial(mean_over_tokens, units),
            codes=functools.partial(self._codes, functools.cache(self._codes_of)),
            lead=1 if model.bos == "context" and model.tokenizer.bos_id is not None else 0,
            device=sae.device,
        )
        self._W_FE = sae.directions_FD.detach().float()
        self._steps: list[tuple[int, Step]] = []
        self._whole: list[tuple[int, Whole]] = []
        self._caps: list[tuple[int, Ceiling]] = []
        for number, one in at_work:
            if isinstance(one, Cap):
                self._caps.append((number, self._ceiling(one, look)))
            elif isinstance(one, Patch) and one.features is None:
                codes = look.codes(one.source)
                decoded_SE = decode_rows(codes, self._W_FE)
                source_SJ = columns(codes, features)
                self._whole.append((number, Whole(source_SJ, decoded_SE, one.from_position, one.share)))
            else:
                self._steps.append((number, make_step(one, look)))
        self._features = features
        self._W_JE = self._W_FE[features]
        self._encodes_all = self._drops or bool(self._whole)
        reads_some = any(not isinstance(one, Add) for one in steps)
        self._read = sae.reader(features) if reads_some and not self._encodes_all else None
        self._encode, self._device = sae.encoder(), sae.device
        self._find_change = without_gradients(self._change_of)
        self._running_clean = False
        self._seen_BC: Tensor | None = None
        self._at: Pass | None = None
        self._x: dict[HookPoint, Tensor] = {}
        self._chosen: Chosen | None = None
        self._change: _Change | None = None

    def __enter__(self) -> None:
        block = self._model.splice(self.replacements())
        block.__enter__()
        self._blocks.append(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.pop().__exit__(kind, error, trace)

    def replacements(self) -> dict[HookPoint, Callable[[Tensor], Tensor]]:
        """For `LanguageModel.splice` or `install`."""
        hooks = dict.fromkeys([*self._places.reads, *self._places.writes] if self._given else [])
        return {hook: functools.partial(self._visit, hook) for hook in hooks}

    def _visit(self, hook: HookPoint, x_BCD: Tensor) -> Tensor:
        if self._running_clean:
            return x_BCD
        under_way = self._model.under_way
        assert under_way is not None
        if under_way is not self._at:
            self._at, self._x, self._change = under_way, {}, None
            self._chosen = self._chooser(under_way)
            if self._several:
                self._remember(under_way)
        if self._chosen is None:
            return x_BCD
        if self._several:
            if not self._x:
                self._x = self._read_clean(under_way)
        elif hook in self._places.reads:
            self._x = {hook: x_BCD}
        if hook not in self._places.writes:
            return x_BCD
        if not self._x:
            raise InputError(
                f"{self._places.reads[0]} comes after {hook} in the forward pass, so that no feature is known there "
                "yet; this dictionary can't be edited"
            )
        if self._change is None:
            self._change = self._find_change(x_BCD)
        return self._put(hook, x_BCD, self._chosen, self._change)

    def _remember(self, at: Pass) -> None:
        """The text so far, whether anything is changed in it yet or not."""
        if not at.first or at.tokens_BC is None:
            self._seen_BC = at.tokens_BC
        elif self._seen_BC is not None and self._seen_BC.shape[1] >= at.first:
            self._seen_BC = torch.cat([self._seen_BC[:, : at.first], at.tokens_BC], dim=1)
        else:
            self._seen_BC = None

    def _read_clean(self, at: Pass) -> dict[HookPoint, Tensor]:
        """What the model has at every place that is read, on the same text, without this block."""
        if self._seen_BC is None:
            raise InputError("a crosscoder needs every token of a text; begin it inside the block, and with tokens")
        self._running_clean = True
        try:
            found = self._model.read(self._seen_BC, self._places.reads)
        finally:
            self._running_clean = False
        return {hook: x_BCD[:, at.first :] for hook, x_BCD in found.items()}

    def _change_of(self, y_BCE: Tensor) -> _Change:
        chosen = self._chosen
        assert chosen is not None
        read = [_rows(self._x[hook], chosen) for hook in self._places.reads]
        x_ND = (torch.cat(read, dim=1) if self._several else read[0]).to(self._device, torch.float32)
        add_NE, base_NE = None, x_ND if self._several else None
        moved_N: Tensor | bool = self._drops
        f_NJ = None if self._read is None else self._read(x_ND)
        if self._encodes_all:
            codes = self._encode(x_ND)
            if self._drops:
                base_NE = self._sae.reconstruct(x_ND, codes).float()
            f_NJ = own_NJ = columns(codes, self._features)
            for number, whole in self._whole:
                chosen_N = _on(chosen.each[number], x_ND)
                decoded_NE = decode_rows(codes, self._W_FE)
                by_NE, by_NJ = whole(decoded_NE, own_NJ, chosen_N, lambda: chosen.tokens)
                moved_N = _either(moved_N, bool(by_NE.any()) if len(by_NE) == 1 else (by_NE != 0).any(1))
                add_NE = by_NE if add_NE is None else add_NE + by_NE
                f_NJ = f_NJ + by_NJ if self._features else f_NJ
        if self._steps:
            before_NJ = x_ND.new_zeros(len(x_ND), len(self._features)) if f_NJ is None else f_NJ
            after_NJ = before_NJ
            for number, step in self._steps:
                after_NJ = step(after_NJ, _on(chosen.each[number], after_NJ), lambda: chosen.tokens)
            moved_N = _either(moved_N, _differ(after_NJ, before_NJ))
            if moved_N is not False:
                by_steps_NE = (after_NJ - before_NJ) @ self._W_JE
                add_NE = by_steps_NE if add_NE is None else add_NE + by_steps_NE
        if self._caps:
            there_NE = _rows(y_BCE, chosen).to(x_ND) if base_NE is None else base_NE
            before_NE = there_NE if add_NE is None else there_NE + add_NE
            after_NE = before_NE.clone()
            for number, cap in self._caps:
                moved_N = _either(moved_N, cap(after_NE, _on(chosen.each[number], after_NE)))
            lowered_NE = after_NE - before_NE
            add_NE = lowered_NE if add_NE is None else add_NE + lowered_NE
        return _Change(base_NE, add_NE, moved_N)

    def _put(self, hook: HookPoint, x_BCD: Tensor, chosen: Chosen, change: _Change) -> Tensor:
        """The activation with the tokens that have moved; those that have not keep every bit."""
        base_NE, add_NE, moved_N = change
        if isinstance(moved_N, Tensor):
            moved_N = bool(moved_N.any()) and (bool(moved_N.all()) or moved_N.to(x_BCD.device))
        if moved_N is False:
            return x_BCD
        if self._several:
            widths = [self._x[one].shape[2] for one in self._places.writes]
            start = sum(widths[: self._places.writes.index(hook)])
            part = slice(start, start + x_BCD.shape[2])
            base_NE, add_NE = (None if values_NE is None else values_NE[:, part] for values_NE in (base_NE, add_NE))
        if (
            moved_N is True
            and chosen.flat_N is None
            and base_NE is None
            and add_NE is not None
            and _is_like(x_BCD, add_NE)
        ):
            return x_BCD + add_NE.view(x_BCD.shape)
        flat_M = None if chosen.flat_N is None else chosen.flat_N.to(x_BCD.device)
        if isinstance(moved_N, Tensor):
            flat_M = moved_N.nonzero()[:, 0] if flat_M is None else flat_M[moved_N]

        def moved(values_NE: Tensor) -> Tensor:
            values_NE = values_NE.to(x_BCD.device)
            return values_NE[moved_N] if isinstance(moved_N, Tensor) else values_NE

        flat_x = x_BCD.reshape(-1, x_BCD.shape[2])
        here_MD = flat_x if flat_M is None else flat_x[flat_M]
        there_MD = here_MD.to(torch.promote_types(x_BCD.dtype, torch.float32))
        there_MD = there_MD if base_NE is None else moved(base_NE).to(there_MD.dtype)
        new_MD = (there_MD if add_NE is None else there_MD + moved(add_NE)).to(x_BCD.dtype)
        return (new_MD if flat_M is None else flat_x.index_copy(0, flat_M, new_MD)).view(x_BCD.shape)

    def _ceiling(self, cap: Cap, look: Lookup) -> Ceiling:
        features = list(cap.features)
        return Ceiling.of(self._W_FE[features], [look.activation(feature, cap.to) for feature in features], cap.share)

    def _codes_of(self, prompt: str) -> SparseCodes:
        return codes_of(self._model, self._sae, prompt, hooks=self._places.reads)

    def _codes(self, of: Callable[[str], SparseCodes], source: str | SparseCodes) -> SparseCodes:
        codes = of(source) if isinstance(source, str) else source
        check_source(codes, self._sae)
        device = self._sae.device
        parts = (codes.offsets.to(device), codes.latents.to(device), codes.values.to(device, torch.float32))
        return SparseCodes(*parts, codes.num_latents)


def _rows(x_BCD: Tensor, chosen: Chosen) -> Tensor:
    x_TD = x_BCD.reshape(-1, x_BCD.shape[2])
    return x_TD if chosen.flat_N is None else x_TD[chosen.flat_N.to(x_TD.device)]


def _differ(one_NJ: Tensor, other_NJ: Tensor) -> Tensor | bool:
    """Tokens where something is not the same; of a single one it is known at once."""
    return not torch.equal(one_NJ, other_NJ) if len(one_NJ) == 1 else (one_NJ != other_NJ).any(1)


def _either(one_N: Tensor | bool, other_N: Tensor | bool) -> Tensor | bool:
    if isinstance(one_N, bool):
        return one_N or other_N
    return one_N | other_N


def _is_like(one: Tensor | None, other: Tensor) -> TypeGuard[Tensor]:
    return one is not None and one.dtype == other.dtype and one.device == other.device


def _on(mask_N: Tensor | None, like: Tensor) -> Tensor | None:
    return None if mask_N is None else mask_N.to(like.device)
