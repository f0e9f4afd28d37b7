"""Becoming: what interventions make of the features of a token that the model reads, to be shown beside the token.

Where a cap cuts, the activation's projection on a direction is cut; what the encoder says of the feature is another
number, which stays as it came. What is drawn at random stays, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lexiscope.core.codes import SparseCodes
from lexiscope.steer.interventions import Ablate, Add, AnyIntervention, Cap, Clamp, Patch, Scale
from lexiscope.steer.strength import Units

if TYPE_CHECKING:
    from lexiscope.core.hookpoint import HookPoint
    from lexiscope.lm.model import LanguageModel
    from lexiscope.saes.base import SparseAutoencoder


def with_codes(
    given: Sequence[AnyIntervention], model: LanguageModel, sae: SparseAutoencoder, hooks: Sequence[HookPoint]
) -> list[AnyIntervention]:
    """The same, with what other prompts that are patched from make fire, so that each is read once.

    Raises:
        InputError: there is nothing in a prompt, or too much.
    """
    from lexiscope.steer.applying.source import codes_of

    return [
        one.model_copy(update={"source": codes_of(model, sae, one.source, hooks=hooks)})
        if isinstance(one, Patch) and isinstance(one.source, str)
        else one
        for one in given
    ]


class Becoming:
    """What interventions make of features.

    Args:
        given: with codes in place of prompts to patch from (`with_codes`).
        prompt_tokens: that the model goes on from, BOS included.
    """

    def __init__(self, given: Sequence[AnyIntervention], units: Units, prompt_tokens: int) -> None:
        self._given = sorted(given, key=lambda one: one.features is not None)  # whole sets are patched first
        self._units, self._prompt_tokens = units, prompt_tokens

    def __call__(self, position: int, firing: dict[int, float]) -> dict[int, float]:
        """The features of a token; one that is silenced stays, with nothing."""
        out = dict(firing)
        for one in self._given:
            if not self._is_for(one, position):
                continue
            source = _row(one, position) if isinstance(one, Patch) else {}
            for feature in [*out, *source] if one.features is None else one.features:
                f = out.get(feature, 0.0)
                after = source.get(feature, 0.0) if isinstance(one, Patch) else self._after(one, feature, f)
                if after != f:
                    out[feature] = f + one.share * (after - f)
        return out

    def _is_for(self, one: AnyIntervention, position: int) -> bool:
        mask = one.mask(position, 1, [self._prompt_tokens])
        return mask is None or bool(mask[0, 0])

    def _after(self, one: AnyIntervention, feature: int, f: float) -> float:
        match one:
            case Clamp():
                return self._units.activation(feature, one.to)
            case Add():
                return f + self._units.activation(feature, one.by)
            case Scale():
                return f * one.by
            case Ablate(to="zero"):
                return 0.0
            case Ablate(to="mean"):
                return self._units.mean_over_tokens(feature) if f else f
            case Cap() | Ablate() | Patch():
                return f


def _row(patch: Patch, position: int) -> dict[int, float]:
    """What fires on the token that is patched from."""
    codes = patch.source
    assert isinstance(codes, SparseCodes)
    row = (position if patch.from_position is None else patch.from_position) % codes.num_tokens
    return dict(zip(*(part.tolist() for part in codes.row(row)), strict=True))
