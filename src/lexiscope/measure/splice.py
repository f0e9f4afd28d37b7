"""Splicing: the model's next-token predictions with its activation at a hook point replaced.

Only real text positions are replaced: BOS, special and padding positions keep their activation (they are not what the
autoencoder was trained on, and models lean heavily on the first position). Predictions made at those positions are not
counted. B contexts, C context length, D width, V vocabulary, N counted predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.metric import Predictions
from lexiscope.text.pack import TokenBatch

Replace = Callable[[Tensor], Tensor]
"""From the activations of some tokens, float32 [T, D], to what takes their place."""


@torch.no_grad()
def predict_spliced(
    model: LanguageModel, hook: HookPoint, batch: TokenBatch, mean_D: Tensor, replacements: Mapping[str, Replace]
) -> Iterator[tuple[str, Predictions]]:
    """For each replacement, the losses of the same predictions: clean, spliced, and ablated to the mean and to zero.

    A prediction counts when it is made at a text token and is about a text token.
    """
    tokens_BC = torch.as_tensor(batch.tokens_BC, device=model.device)
    attention_BC = torch.as_tensor(batch.attention_BC, device=model.device)
    mask_BC = torch.as_tensor(batch.mask_BC, device=model.device)
    counted_BC = mask_BC[:, :-1] & mask_BC[:, 1:]
    targets_N = tokens_BC[:, 1:][counted_BC]
    documents_N = torch.as_tensor(batch.documents_BC)[:, 1:][counted_BC.cpu()].long()

    def log_probabilities(replace: Replace | None) -> Tensor:
        if replace is None:
            logits_BCV = model.logits(tokens_BC, attention_BC)
        else:
            with model.splice({hook: _at_text(mask_BC, replace)}):
                logits_BCV = model.logits(tokens_BC, attention_BC)
        return logits_BCV[:, :-1][counted_BC].float().log_softmax(1)

    def loss(log_probabilities_NV: Tensor) -> Tensor:
        return -log_probabilities_NV.gather(1, targets_N[:, None])[:, 0].cpu()

    clean_NV = log_probabilities(None)
    clean_N = loss(clean_NV)
    mean_N = loss(log_probabilities(lambda x_TD: mean_D.to(x_TD).expand_as(x_TD)))
    zero_N = loss(log_probabilities(torch.zeros_like))
    for name, replace in replacements.items():
        spliced_NV = log_probabilities(replace)
        divergence_N = (clean_NV.exp() * (clean_NV - spliced_NV)).sum(1).cpu()
        yield name, Predictions(clean_N, loss(spliced_NV), mean_N, zero_N, divergence_N, documents_N)


def _at_text(mask_BC: Tensor, replace: Replace) -> Replace:
    def splice(x_BCD: Tensor) -> Tensor:
        out_BCD = x_BCD.clone()
        out_BCD[mask_BC] = replace(x_BCD[mask_BC].float()).to(x_BCD.dtype)
        return out_BCD

    return splice
