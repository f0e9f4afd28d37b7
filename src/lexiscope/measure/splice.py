"""Splicing: the losses of the model's next-token predictions with its activations replaced.

What takes their place is made from the activations that the model has when nothing is replaced. So it does not matter
whether they are read where they are written (autoencoder), before (transcoder) or at several places (crosscoder).
Where tokens are replaced and which predictions count: `lexiscope.lm.passage`. T tokens, D width of all hook points
that are read, E of all that are written.
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
from lexiscope.train.source import Sites


@torch.no_grad()
def predict_spliced(
    model: LanguageModel,
    sites: Sites,
    batch: TokenBatch,
    means: Mapping[HookPoint, Tensor],
    replacements: Mapping[str, Replace],
) -> Iterator[tuple[str, Predictions]]:
    """For each replacement, the losses of the same predictions: clean, spliced, and ablated to the mean and to zero.

    A prediction counts when it is made at a text token and is about a text token.

    Args:
        means: of every hook point written, [D].
        replacements: from the activations read, side by side [T, D], to what is written, side by side [T, E].
    """
    passage = Passage(model, batch)
    documents_N = torch.as_tensor(batch.documents_BC)[:, 1:][passage.counted_BC.cpu()].long()
    x_TD = torch.cat([passage.read(hook) for hook in sites.reads], dim=1)
    mean_E = torch.cat([means[hook] for hook in sites.writes]).to(x_TD)
    widths = [len(means[hook]) for hook in sites.writes]

    def log_probabilities(y_TE: Tensor) -> Tensor:
        parts = zip(sites.writes, torch.split(y_TE, widths, dim=1), strict=True)
        return passage.log_probabilities_with({hook: _put(part_TD) for hook, part_TD in parts})

    def loss(y_TE: Tensor) -> Tensor:
        return passage.cross_entropy(log_probabilities(y_TE)).cpu()

    clean_N = passage.cross_entropy(passage.clean_NV).cpu()
    mean_N = loss(mean_E.expand(len(x_TD), -1))
    zero_N = loss(torch.zeros_like(mean_E).expand(len(x_TD), -1))
    for name, replace in replacements.items():
        spliced_NV = log_probabilities(replace(x_TD))
        divergence_N = passage.divergence(spliced_NV).cpu()
        spliced_N = passage.cross_entropy(spliced_NV).cpu()
        yield name, Predictions(clean_N, spliced_N, mean_N, zero_N, divergence_N, documents_N)


def _put(y_TD: Tensor) -> Replace:
    return lambda _: y_TD
