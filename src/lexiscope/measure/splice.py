"""Splicing: the losses of the model's next-token predictions with its activation at a hook point replaced.

Where it is replaced and which predictions count: `lexiscope.lm.passage`. T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel
from lexiscope.lm.passage import Passage, Replace
from lexiscope.measure.metric import Predictions
from lexiscope.text.pack import TokenBatch


@torch.no_grad()
def predict_spliced(
    model: LanguageModel, hook: HookPoint, batch: TokenBatch, mean_D: Tensor, replacements: Mapping[str, Replace]
) -> Iterator[tuple[str, Predictions]]:
    """For each replacement, the losses of the same predictions: clean, spliced, and ablated to the mean and to zero.

    A prediction counts when it is made at a text token and is about a text token.
    """
    passage = Passage(model, batch)
    documents_N = torch.as_tensor(batch.documents_BC)[:, 1:][passage.counted_BC.cpu()].long()

    def loss(replace: Replace) -> Tensor:
        return passage.cross_entropy(passage.log_probabilities(hook, replace)).cpu()

    clean_N = passage.cross_entropy(passage.clean_NV).cpu()
    mean_N = loss(lambda x_TD: mean_D.to(x_TD).expand_as(x_TD))
    zero_N = loss(torch.zeros_like)
    for name, replace in replacements.items():
        spliced_NV = passage.log_probabilities(hook, replace)
        divergence_N = passage.divergence(spliced_NV).cpu()
        spliced_N = passage.cross_entropy(spliced_NV).cpu()
        yield name, Predictions(clean_N, spliced_N, mean_N, zero_N, divergence_N, documents_N)
