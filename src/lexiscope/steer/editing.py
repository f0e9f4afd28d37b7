"""Editing: a language model whose features are changed, for as long as a ``with`` block lasts.

    with editing(model, sae, [Clamp(features=123, to="2max"), Ablate(features=5)], units=index):
        print(model.generate("The bridge"))

With the error kept (the default) the activation becomes x + Σ Δf · w: only the change is added, to the tokens where
some f changes; every other token keeps its bits. With the error dropped it becomes the reconstruction of the changed
codes, on every token that an intervention is for. A transcoder reads here and writes there. A crosscoder writes several
places of one pass: what is changed at the first would be seen, and changed again, at the next. Its codes are therefore
those of the model without this block on the same tokens (one more pass, without a cache), and so is what its changes
are added to.

Works in `read`, `logits`, `generate`, `stream_tokens` and the bare module, with a cache of keys and values or without:
a pass in the middle of a text knows at which position it starts. What is added is a constant to gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.live.contexts import Places
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.applying import checks
from lexiscope.steer.applying.editor import Editor, ErrorTerm
from lexiscope.steer.interventions import AnyIntervention
from lexiscope.steer.strength import Units


def editing(
    model: LanguageModel,
    sae: SparseAutoencoder,
    interventions: Sequence[AnyIntervention] | AnyIntervention,
    *,
    units: Units | FeatureIndex | None = None,
    error: ErrorTerm = "keep",
    prompt_tokens: int | Sequence[int] | None = None,
    hooks: Sequence[HookPoint] = (),
    allow_dead: bool = False,
    other_model: bool = False,
) -> Editor:
    """Inside a ``with`` block of what is returned, the model runs with its features changed.

    Everything is looked up and checked before. Blocks of several dictionaries nest; one may be entered again, such as
    for each token of a text that is streamed.

    Args:
        interventions: one or several (`lexiscope.steer.interventions`), in the order in which they apply.
        units: the index of this dictionary, for strengths such as ``2max``, means, and to know dead features.
        error: whether what the dictionary does not explain is kept, or dropped with everything else that is no code.
        prompt_tokens: length of the prompt, BOS included, for the whole batch or for each context (padded on the
            right). None: what generation began with, or else all of a text that is read at once.
        hooks: for an autoencoder that does not say itself what it reads.
        allow_dead: whether features that never fire in the indexed text are let through.
        other_model: whether the dictionary may be of another model, such as the one that this was finetuned from.

    Raises:
        InputError: an unknown or dead feature, interventions that contradict each other, a dictionary of another
            model, width or hook point; in the forward pass, rows, positions or a source that are not there.
    """
    units = Units(units) if isinstance(units, FeatureIndex) else units
    given = [interventions] if isinstance(interventions, AnyIntervention) else list(interventions)
    if error not in ("keep", "drop"):
        raise InputError(f"the error term is kept or dropped, not {quoted(error)}; say keep or drop")
    places = Places.of(sae, hooks)
    checks.check_fit(model, sae, places, other_model=other_model)
    if units is not None:
        checks.check_index(sae, units)
    checks.check_features(given, sae, units, allow_dead=allow_dead)
    checks.check_one_place(given, places)
    for pair in checks.contradictions(given):
        if checks.certain(given[pair[0]], given[pair[1]]):
            raise checks.contradiction(given, pair)
    return Editor(model, sae, places, given, units, error, prompt_tokens)
