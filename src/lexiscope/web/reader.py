"""TextReader: which features fire on a text that somebody types. T tokens, F latents."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lexiscope import saes
from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.core.hookpoint import HookPoint

if TYPE_CHECKING:
    from lexiscope.lm.model import LanguageModel
    from lexiscope.saes.base import SparseAutoencoder

MAX_CHARACTERS = 4000
MAX_TOKENS = 256


class ReadToken(NamedTuple):
    """A token and what fires on it: (feature, activation), strongest first."""

    piece: str
    firings: list[tuple[int, float]]


class ReadText(NamedTuple):
    tokens: list[ReadToken]
    left_out: int
    """Tokens at the end that were too many."""


class TextReader:
    """Loads the language model and the SAE of an index when the first text comes, and reads one text at a time."""

    def __init__(self, index: Artifact, sae: Artifact | None) -> None:
        self._index = index
        self._sae = sae
        self._turn = threading.Lock()

    def read(self, text: str) -> ReadText:
        """Encode a text. Requests at the same time wait for each other.

        Raises:
            InputError: there is nothing to read, or the model or the SAE is no longer what the index was made from.
        """
        import torch

        with self._turn, torch.inference_mode():
            model, sae = self._parts
            ids = model.tokenizer.encode(text).ids
            if not ids:
                raise InputError("there is nothing to read in this text; type a word or two")
            start = [model.tokenizer.bos_id] if model.bos == "context" else []
            kept = ids[: min(MAX_TOKENS, model.max_context - len(start))]
            hooks = [HookPoint.parse(hook) for hook in self._index.config["hook"].split(" + ")]
            read_at = model.read(torch.tensor([[*start, *kept]]), hooks)
            x_TD = torch.cat([read_at[hook] for hook in hooks], dim=2)[0, len(start) :].float()
            codes = sae.encode(x_TD.to(sae.directions_FD.device))
            tokens = []
            for place, token in enumerate(kept):
                latents, values = codes.row(place)
                order = values.argsort(descending=True)
                firings = zip(latents[order].tolist(), values[order].tolist(), strict=True)
                tokens.append(ReadToken(model.tokenizer.piece(token), list(firings)))
            return ReadText(tokens, len(ids) - len(kept))

    @cached_property
    def _parts(self) -> tuple[LanguageModel, SparseAutoencoder]:
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
        return model, saes.load(self._sae.path)


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
