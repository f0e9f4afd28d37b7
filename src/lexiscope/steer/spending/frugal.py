"""Frugal: a model that runs on so many features per token, while everything that fires can be written down.

    with recording("runs/tour/record", model, sae, parse("k=8")) as record, frugal(model, sae, parse("k=8"), record):
        print(model.generate("The bridge"))

The activation becomes the reconstruction of the features that are kept; what the dictionary does not explain is
dropped. BOS, padding and other special tokens keep their activation. B contexts, C tokens of a pass, T of them text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.contexts import Places
from lexiscope.lm.hooks import Pass
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.spending.record import Record
from lexiscope.steer.spending.rules import First, PerSequence, Spending, spend


@contextmanager
def frugal(
    model: LanguageModel,
    sae: SparseAutoencoder,
    spending: Spending,
    record: Record | None = None,
    *,
    hooks: Sequence[HookPoint] = (),
) -> Iterator[None]:
    """Inside the block the model runs on the features that ``spending`` keeps.

    Args:
        record: takes all that fires, kept or not.
        hooks: for an autoencoder that does not say itself what it reads.

    Raises:
        InputError: a dictionary of several places; in a pass, a budget for a sequence whose end is not there yet, or
            embeddings instead of tokens.
    """
    places = Places.of(sae, hooks)
    if len(places.reads) > 1 or len(places.writes) > 1:
        raise InputError(
            "a crosscoder reads or writes several places, and what is dropped at the first would change what the next "
            "one holds; give a dictionary of one place"
        )
    runner = _Runner(model, sae, spending, record)
    replacements = {places.reads[0]: runner.read}
    if places.writes == places.reads:
        replacements = {places.reads[0]: lambda x_BCD: runner.write(runner.read(x_BCD))}
    else:
        replacements[places.writes[0]] = runner.write
    with torch.no_grad(), model.splice(replacements):
        yield


class _Runner:
    def __init__(self, model: LanguageModel, sae: SparseAutoencoder, spending: Spending, record: Record | None) -> None:
        self._model, self._sae, self._spending, self._record = model, sae, spending, record
        self._lengths_F = torch.linalg.vector_norm(sae.directions_FD.detach().float(), dim=1)
        self._special = torch.tensor(sorted(model.tokenizer.special_ids), dtype=torch.int64)
        first = isinstance(spending, First) and record is None and spending.latents < sae.num_latents
        self._reader = sae.reader(range(spending.latents)) if isinstance(spending, First) and first else None
        self._written: tuple[Tensor, Tensor] | None = None
        self._seen_BC: Tensor | None = None

    def read(self, x_BCD: Tensor) -> Tensor:
        """Encode, choose, and keep the reconstruction for where it is written."""
        under_way = self._model.under_way
        assert under_way is not None
        if under_way.tokens_BC is None:
            raise InputError("which tokens are text is not known in a pass that is given embeddings; give tokens")
        if isinstance(self._spending, PerSequence) and (under_way.first or self._model.prompt_tokens is not None):
            raise InputError(
                "a budget is spent on a whole sequence, whose end is not there while it is generated; give a "
                "threshold, which spends as much on average (`threshold_for`)"
            )
        text_BC = ~torch.isin(under_way.tokens_BC.cpu(), self._special)
        x_TD = x_BCD[text_BC.to(x_BCD.device)].float().to(self._sae.device)
        codes = self._encode(x_TD)
        contexts_T = torch.arange(under_way.contexts).repeat_interleave(text_BC.sum(1))
        keep_N = spend(codes, self._lengths_F, self._spending, contexts_T)
        self._written = (text_BC, self._sae.reconstruct(x_TD, codes.keep(keep_N)))
        if self._record is not None:
            self._note(under_way, text_BC, codes, keep_N)
        return x_BCD

    def _encode(self, x_TD: Tensor) -> SparseCodes:
        """All that fires; nothing behind a prefix where nobody asks for it."""
        if self._reader is None:
            return self._sae.encode(x_TD).fired()
        codes = SparseCodes.from_dense(self._reader(x_TD))
        return SparseCodes(codes.offsets, codes.latents, codes.values, self._sae.num_latents)

    def write(self, x_BCD: Tensor) -> Tensor:
        if self._written is None:
            raise InputError("this dictionary writes before it reads in the forward pass; it can't be run")
        text_BC, y_TE = self._written
        out_BCD = x_BCD.clone()
        out_BCD[text_BC.to(x_BCD.device)] = y_TE.to(x_BCD)
        return out_BCD

    def _note(self, at: Pass, text_BC: Tensor, codes: SparseCodes, keep_N: Tensor) -> None:
        """Write down the tokens that are new: without a cache a pass of a generation reads the old ones again."""
        assert self._record is not None
        assert at.tokens_BC is not None
        tokens_BC, old = at.tokens_BC.cpu(), 0
        if at.first:
            self._seen_BC = None
        elif self._goes_on(tokens_BC):
            old = tokens_BC.shape[1] - 1
        else:
            self._record.contexts += at.contexts
        if not at.first:
            self._seen_BC = tokens_BC
        rows_T, places_T = text_BC.nonzero(as_tuple=True)
        of_N = codes.tokens().cpu()
        new_N = places_T[of_N] >= old
        began = self._record.contexts - at.contexts
        columns = {
            "context": began + rows_T[of_N],
            "position": at.first + places_T[of_N],
            "token": tokens_BC[text_BC][of_N],
            "feature": codes.latents.cpu(),
            "activation": codes.values.float().cpu(),
            "spent": keep_N.cpu(),
        }
        new_tokens = int((places_T >= old).sum())
        self._record.add(new_tokens, {name: column[new_N].numpy() for name, column in columns.items()})

    def _goes_on(self, tokens_BC: Tensor) -> bool:
        """Whether a pass reads what the last one read and one token more, in the midst of a generation."""
        seen_BC = self._seen_BC
        return (
            self._model.prompt_tokens is not None
            and self._model.prompt_tokens < tokens_BC.shape[1]
            and seen_BC is not None
            and seen_BC.shape == (len(tokens_BC), tokens_BC.shape[1] - 1)
            and bool((tokens_BC[:, :-1] == seen_BC).all())
        )
