"""Source: the codes of another prompt, to patch from or to draw from. T tokens, BOS among them."""

from __future__ import annotations

from collections.abc import Sequence

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.contexts import Contexts, Places, encode, tokens_of
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder


def codes_of(
    model: LanguageModel, sae: SparseAutoencoder, prompt: str, *, hooks: Sequence[HookPoint] = ()
) -> SparseCodes:
    """The codes of every token that the model reads of a prompt, BOS too, so that rows are positions.

    Args:
        hooks: for an autoencoder that does not say itself what it reads.

    Raises:
        InputError: there is nothing in the prompt, or too much.
    """
    places = Places.of(sae, hooks)
    contexts = Contexts.of(model, [tokens_of(model.tokenizer, prompt).ids])
    at = model.read(contexts.tokens_BC, list(dict.fromkeys(places.reads)))
    every_token = contexts._replace(text_BC=contexts.attention_BC)
    return encode(sae, every_token.side_by_side(at, places.reads))


def check_source(codes: SparseCodes, sae: SparseAutoencoder) -> None:
    """Raises InputError: codes are of a dictionary of another size, or of no token."""
    if codes.num_latents != sae.num_latents:
        raise InputError(
            f"the source has codes of {codes.num_latents:,} features, this dictionary has {sae.num_latents:,}; "
            "give codes of the same dictionary"
        )
    if not codes.num_tokens:
        raise InputError("the source has codes of no token; give those of a prompt")
