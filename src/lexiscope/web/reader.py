"""TextReader: the language model and the dictionary behind an index, loaded when they are first asked, one at a time.

What is computed is in `lexiscope.index`; here is what a server needs around it: loading, turns, and limits.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lexiscope import saes
from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.core.hookpoint import HookPoint

if TYPE_CHECKING:
    from torch import Tensor

    from lexiscope.index.directions.effects import By, Promoters
    from lexiscope.index.feature_index import FeatureIndex
    from lexiscope.index.live.ablation import Window
    from lexiscope.index.live.by_example import ByExample, Marked
    from lexiscope.index.live.changes import Ablation
    from lexiscope.index.live.near_misses import NearMisses
    from lexiscope.index.live.reading import Reading
    from lexiscope.lm.model import LanguageModel
    from lexiscope.saes.base import SparseAutoencoder
    from lexiscope.steer.confirming.confirm import Confirmation
    from lexiscope.steer.confirming.pairs import Pair

MAX_CHARACTERS = 4000
MAX_TOKENS = 256
MAX_WINDOWS = 64
MAX_EXAMPLES = 32
MAX_PAIRS = 64


class TextReader:
    """Answers what only the model can. Requests at the same time wait for each other.

    Every method raises `InputError` where what is given can't be answered, or where the model or the SAE is not there
    or no longer what the index was made from.
    """

    def __init__(self, index: Artifact, sae: Artifact | None) -> None:
        self._index = index
        self._sae = sae
        self._turn = threading.Lock()

    def read(self, text: str, index: FeatureIndex | None = None) -> Reading:
        """Take a text apart, of which the first 256 tokens are read.

        Args:
            index: for strengths relative to each feature's largest activation.
        """
        from lexiscope.index.live.reading import read_texts

        _check_length(text)
        with self._turn:
            model, sae = self._parts
            [reading] = read_texts(model, sae, [text], hooks=self._hooks, index=index, most_tokens=MAX_TOKENS)
            return reading

    def ablate(self, feature: int, windows: Sequence[Window], *, others: Tensor | None = None) -> Ablation:
        """Take a feature out of its examples.

        Args:
            windows: see `lexiscope.index.live.ablation.windows_at`.
            others: numbers of the features that may serve as controls, the live ones; None: all.
        """
        from lexiscope.index.live.ablation import ablate

        if not 1 <= len(windows) <= MAX_WINDOWS:
            raise InputError(f"there are {len(windows)} examples; give between 1 and {MAX_WINDOWS}")
        with self._turn:
            model, sae = self._parts
            return ablate(model, sae, feature, windows, hooks=self._hooks, others=others)

    def near_misses(self, feature: int, windows: Sequence[Window]) -> NearMisses:
        """Where a feature is silent and almost fires.

        Args:
            windows: see `lexiscope.index.live.ablation.windows_at`.
        """
        from lexiscope.index.live.near_misses import near_misses

        if not 1 <= len(windows) <= MAX_WINDOWS:
            raise InputError(f"there are {len(windows)} places; give between 1 and {MAX_WINDOWS}")
        with self._turn:
            model, sae = self._parts
            return near_misses(model, sae, feature, windows, hooks=self._hooks)

    def confirm(
        self, feature: int, pairs: Sequence[Pair], hypothesis: str, *, others: Tensor | None = None
    ) -> Confirmation:
        """Patch a feature between pairs of prompts.

        Args:
            others: numbers of the features that may serve as controls, the live ones; None: all.
        """
        from lexiscope.steer.confirming.confirm import confirm
        from lexiscope.steer.confirming.pairs import LEAST_PAIRS

        if not LEAST_PAIRS <= len(pairs) <= MAX_PAIRS:
            raise InputError(f"there are {len(pairs)} pairs; give between {LEAST_PAIRS} and {MAX_PAIRS}")
        with self._turn:
            model, sae = self._parts
            return confirm(model, sae, feature, pairs, hypothesis=hypothesis, hooks=self._hooks, others=others)

    def neurons(self, layer: int) -> Tensor | None:
        """What the neurons of a layer's MLP write; None where the model's family does not tell."""
        with self._turn:
            model = self._model
            try:
                return model.neurons(layer)
            except InputError:
                return None

    def promotes(self, text: str, index: FeatureIndex | None = None, *, by: By = "effect", keep: int = 50) -> Promoters:
        """The features that promote a text most.

        Args:
            index: for effects at the mean activation, to tell them and to order by them.
        """
        import torch

        from lexiscope.index.directions.effects import promoters

        _check_length(text)
        means_F = None if index is None else torch.from_numpy(index.means_F)
        with self._turn:
            matrix_DV, directions_FD, spread_F = self._effects
            tokenizer = self._model.tokenizer
            return promoters(matrix_DV, directions_FD, spread_F, tokenizer, text, by=by, keep=keep, means_F=means_F)

    def by_example(
        self,
        wanted: Sequence[Marked | str],
        unwanted: Sequence[Marked | str],
        index: FeatureIndex | None = None,
        *,
        keep: int = 20,
    ) -> ByExample:
        """The features that fire on some texts, or marked parts of them, and not on others."""
        from lexiscope.index.live.by_example import find_by_example

        examples = [*wanted, *unwanted]
        if len(examples) > MAX_EXAMPLES:
            raise InputError(f"there are {len(examples)} examples; give at most {MAX_EXAMPLES}")
        for example in examples:
            _check_length(example if isinstance(example, str) else example.text)
        with self._turn:
            model, sae = self._parts
            return find_by_example(model, sae, wanted, unwanted, hooks=self._hooks, index=index, keep=keep)

    def parts(self) -> tuple[LanguageModel, SparseAutoencoder, list[HookPoint]]:
        """The model, the dictionary and where it reads, for what takes turns at the model itself (`web.steering`)."""
        with self._turn:
            model, sae = self._parts
        return model, sae, self._hooks

    @property
    def _hooks(self) -> list[HookPoint]:
        """Where the index was read, for an SAE that does not say it itself."""
        return [HookPoint.parse(hook) for hook in self._index.config["hook"].split(" + ")]

    @cached_property
    def _parts(self) -> tuple[LanguageModel, SparseAutoencoder]:
        model = self._model
        assert self._sae is not None
        return model, saes.load(self._sae.path)

    @cached_property
    def _model(self) -> LanguageModel:
        if "_parts" in self.__dict__:
            return self._parts[0]
        if self._sae is None:
            raise InputError("the SAE of this index is not in the folder that is shown; put it there to read texts")
        from lexiscope.lm.model import LanguageModel

        wanted = self._index.manifest["sources"]["model"]
        try:
            model = LanguageModel(_on_this_machine(wanted["name"], wanted.get("revision")))
        except LexiscopeError as error:
            raise InputError(f"the model of this dictionary can't be loaded: {error}") from None
        if model.fingerprint != wanted["fingerprint"]:
            raise InputError(f"{wanted['name']} has changed since this dictionary was indexed; index again")
        return model

    @cached_property
    def _effects(self) -> tuple[Tensor, Tensor, Tensor]:
        """The matrix of effects, the directions, and the spread of each feature's effects.

        Directions of an SAE that is not loaded stay on the disk.
        """
        from lexiscope.index.directions.effects import (
            acting_directions,
            effect_matrix,
            map_directions,
            spread_of_effects,
        )

        model = self._model
        if "_parts" in self.__dict__:
            directions_FD, writes = self._parts[1].directions_FD.detach(), self._parts[1].writes
        else:
            assert self._sae is not None
            directions_FD = map_directions(self._sae)
            writes = tuple(HookPoint.parse(hook) for hook in self._sae.config.get("writes", ()))
        directions_FD = acting_directions(directions_FD, writes or self._hooks, model.width)
        matrix_DV = effect_matrix(model)
        return matrix_DV, directions_FD, spread_of_effects(matrix_DV, directions_FD)


def _check_length(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"a text has {len(text)} characters; give at most {MAX_CHARACTERS}")


def _on_this_machine(name: str, revision: str | None) -> str:
    """The demo model, a folder, or what the hub's cache holds of a model. Whatever an index names, nothing is fetched.

    Raises:
        InputError: the cache does not hold it.
    """
    if name == "demo" or Path(name).is_absolute():
        return name
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(name, revision=revision, local_files_only=True)
    except (OSError, ValueError):
        at = f" at revision {revision}" if revision else ""
        raise InputError(
            f"{name}{at} is not on this machine and viewing downloads nothing; fetch it with `hf download`"
        ) from None
