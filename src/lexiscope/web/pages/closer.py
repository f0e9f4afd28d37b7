"""A closer look at a feature: what its directions load on, whether other dictionaries found it, what it may absorb, and
where it almost fires. All of this takes more than the index, so that the page of the feature asks for it afterwards.
"""

from __future__ import annotations

from torch import Tensor

from lexiscope.core.errors import InputError, LexiscopeError, one_line
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.tensorfile import map_tensor
from lexiscope.index.directions.alignment import Aligned, align
from lexiscope.index.directions.effects import map_directions
from lexiscope.index.directions.relations import AbsorptionSuspect
from lexiscope.index.feature import Feature, FeatureSummary, Real
from lexiscope.saes.weights import WEIGHTS
from lexiscope.web.absorbed import suspects
from lexiscope.web.folder.library import Dictionary, Library
from lexiscope.web.missed import ShownMisses, known
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.stability import DAMAGE, MOST_AT_ONCE, Closest, stability
from lexiscope.web.view import View

PATH = "/d/{name}/features/{feature:int}/closer"
TEMPLATE = "closer.html"
_MOST_QUOTED = 300


class Directions(View):
    """What its directions say."""

    aligned: list[Aligned]
    has_neurons: bool
    """It stands at the output of an MLP, whose neurons are told where ``deep`` is asked for."""
    siblings: list[Closest]
    """In other dictionaries of the same place, those that differ by their seed alone first."""
    unread: list[str]
    """Other dictionaries that are too large to be read unless ``deep`` is asked for, or can't be read."""
    suspects: list[AbsorptionSuspect]
    compared: int
    """Neighbours whose direction and density are those of an absorbing feature, or of one that is absorbed."""


class CloserView(View):
    dictionary: DictionaryFacts
    feature: int
    deep: bool
    dead: bool
    max_activation: Real
    directions: Directions | None
    problem: str | None
    """Why nothing can be said about its directions."""
    near_misses: ShownMisses | None
    """None: nobody has looked for them yet."""
    features: dict[int, FeatureSummary]
    """Those that are named here."""
    labels: dict[int, str]
    read_only: bool


def read(library: AnyLibrary, name: str, feature: int, deep: bool = False) -> CloserView:
    """Args:
    deep: whatever it takes: read large dictionaries, and load the model for its neurons.
    """
    found = library.dictionary(name)
    shown = found.index.feature(feature)
    directions, problem = None, None
    try:
        directions = _directions(library, found, shown, deep)
    except DAMAGE as error:
        problem = one_line(str(error), _MOST_QUOTED)
    named = {
        feature for one in (directions.suspects if directions else []) for feature in (one.absorbing, one.absorbed)
    }
    return CloserView(
        dictionary=facts(found, library),
        feature=feature,
        deep=deep,
        dead=shown.dead,
        max_activation=shown.max_activation,
        directions=directions,
        problem=problem,
        near_misses=None if shown.dead else known(found, feature),
        features=found.index.summaries(sorted(named)),
        labels=found.notebook.labels(sorted(named)),
        read_only=library.read_only,
    )


def _directions(library: Library, found: Dictionary, feature: Feature, deep: bool) -> Directions:
    if found.sae is None:
        raise InputError("the SAE of this index is not in the folder that is shown")
    sae = found.sae
    directions_FD = map_directions(sae)
    own_D = directions_FD[feature.feature].float()
    hooks = [HookPoint.parse(hook) for hook in found.artifact.config["hook"].split(" + ")]
    reads, writes = (
        [HookPoint.parse(hook) for hook in sae.config.get(side, [])] or hooks for side in ("reads", "writes")
    )
    widths = sae.config.get("sae", {}).get("site_widths")
    neurons = found.reader.neurons if deep else lambda _: None
    aligned = align("decoder", own_D, writes, widths, neurons=neurons)
    if (encoder_D := _encoder(found, feature.feature)) is not None:
        aligned += align("encoder", encoder_D, reads, widths, neurons=neurons)
    numbers = [feature.feature, *(near.feature for near in feature.neighbours)]
    absorbing, compared = suspects(found.index, feature.feature, feature.neighbours, directions_FD[numbers].float())
    siblings, unread = stability(
        found, feature.feature, own_D, library.siblings(found), most=None if deep else MOST_AT_ONCE
    )
    return Directions(
        aligned=aligned,
        has_neurons=any(hook.site == "mlp_out" for hook in {*reads, *writes}),
        siblings=siblings,
        unread=unread,
        suspects=absorbing,
        compared=compared,
    )


def _encoder(found: Dictionary, feature: int) -> Tensor | None:
    """Its encoder direction, where the architecture has one of its own."""
    assert found.sae is not None
    try:
        return map_tensor(found.sae.path / WEIGHTS, "W_enc_FD")[feature].float()
    except LexiscopeError:
        return None
