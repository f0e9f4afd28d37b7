"""What is refused before a model runs: features that are not there, places that don't fit, contradictions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from lexiscope.core.errors import InputError
from lexiscope.index.live.contexts import Places
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.interventions import AnyIntervention, Cap, Patch
from lexiscope.steer.strength import Units


def check_fit(model: LanguageModel, sae: SparseAutoencoder, places: Places, *, other_model: bool) -> None:
    """Raises InputError: the dictionary is of another model, another hook point or another width."""
    for hook in dict.fromkeys([*places.reads, *places.writes]):
        model.check(hook)
    for what, hooks, width in (("reads", places.reads, sae.width), ("writes", places.writes, sae.output_width)):
        found = sum(model.width_at(hook) for hook in hooks)
        if found != width:
            raise InputError(
                f"this dictionary {what} {width} dimensions, but {' and '.join(map(str, hooks))} of {model.name} "
                f"{'has' if len(hooks) == 1 else 'have'} {found}; name the hook point and the model that it belongs to"
            )
    said: dict[str, Any] = {} if sae.artifact is None else sae.artifact.manifest["sources"].get("model", {})
    if not other_model and said and said.get("fingerprint") != model.fingerprint:
        raise InputError(
            f"this dictionary was trained on {said.get('name')}, which {model.name} is not; name that model, or say "
            "that another one is meant"
        )


def check_index(sae: SparseAutoencoder, units: Units) -> None:
    """Raises InputError: the index is of another dictionary."""
    source = units.index.artifact.source("sae")
    other = source is not None and sae.artifact is not None and source["fingerprint"] != sae.artifact.fingerprint
    if other or units.index.num_features != sae.num_latents:
        raise InputError(f"{units.index.artifact.path} is the index of another dictionary; name the one of this one")


def check_features(
    given: Sequence[AnyIntervention], sae: SparseAutoencoder, units: Units | None, *, allow_dead: bool
) -> None:
    """Raises InputError: a feature is not there, or never fires."""
    for feature in sorted({feature for one in given for feature in one.features or ()}):
        if feature >= sae.num_latents:
            raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {sae.num_latents - 1}")
        if units is not None and not allow_dead and units.is_dead(feature):
            raise InputError(
                f"feature {feature} never fires in the indexed text, so nobody knows what it stands for; choose "
                "another, or allow dead features"
            )


def check_one_place(given: Sequence[AnyIntervention], places: Places) -> None:
    """Raises InputError: a projection is to be capped where a direction has several parts."""
    if len(places.writes) > 1 and any(isinstance(one, Cap) for one in given):
        raise InputError(
            f"this dictionary writes {', '.join(map(str, places.writes))}, where the model is not known at the same "
            "time, so a projection can't be capped; clamp the feature instead"
        )


def contradictions(given: Sequence[AnyIntervention]) -> list[tuple[int, int]]:
    """Pairs of interventions that both say what one feature becomes, and may do so on the same token."""
    return [
        (first, second)
        for (first, one), (second, other) in itertools.combinations(enumerate(given), 2)
        if one.sets and other.sets and _share_a_feature(one, other) and not one.apart_from(other)
    ]


def certain(one: AnyIntervention, other: AnyIntervention) -> bool:
    """Whether a pair of `contradictions` is sure to meet, whatever the text."""
    return (one.positions is None and other.positions is None) or one.positions == other.positions


def contradiction(given: Sequence[AnyIntervention], pair: tuple[int, int]) -> InputError:
    one, other = (given[number] for number in pair)
    shared = sorted(set(one.features or ()) & set(other.features or ()))
    what = f"feature {shared[0]}" if shared else "every feature"
    return InputError(
        f"interventions {pair[0] + 1} ({one.do}) and {pair[1] + 1} ({other.do}) both say what {what} becomes on the "
        "same tokens; leave one out, or give them different positions, tokens or rows"
    )


def _share_a_feature(one: AnyIntervention, other: AnyIntervention) -> bool:
    whole = [isinstance(each, Patch) and each.features is None for each in (one, other)]
    if any(whole):
        return all(whole)  # named features are set on top of a whole set
    return bool(set(one.features or ()) & set(other.features or ()))
