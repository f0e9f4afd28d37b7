"""Factors: by how much features are scaled so that an answer goes away, learned by gradient descent.

    a* = argmin  mean(relu(m + odds(prompt)) + relu(m + odds(counterpart))) + relu(rise) / limit + l ‖a - 1‖₁

where f ← a · f on every token of text; odds are those of the unwanted answer, m a margin, and the rise is that of the
loss on ordinary text. Adam goes down the first three; the last is a step of its own, towards 1, so that most factors
stay there (soft thresholding: Daubechies et al. 2004). Learned masks over what a model computes: De Cao et al. 2020,
"How do decisions emerge across layers in neural models? Interpretation with differentiable masking".

At the model as it is gradients say little where it is sure of its answer, since no single feature moves that. All
factors together do, and near the edge each of them counts.

B contexts, C tokens per context, T tokens of all, N tokens that count for the loss, J features that are scaled,
D width, E width that is written, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.seeds import generator
from lexiscope.index.live.contexts import Contexts, Places
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import Asked, Question, question
from lexiscope.measure.worlds.planted.losses import summed_losses
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.text.pack import TokenBatch

MARGIN = 3.0
"""Nats of log odds by which every answer should be the wanted one."""
LEAST, MOST = -4.0, 1.0
"""A factor's range: nothing is turned up."""
LR, SHRINK = 0.1, 0.005
"""What a factor moves in a step, at first, by gradient and towards 1."""
PROMPTS_AT_ONCE = 16


class Scaled(NamedTuple):
    """A model in which candidates may be scaled, with gradients to the factors: what `Scale` does, no more."""

    model: LanguageModel
    sae: SparseAutoencoder
    places: Places
    features: list[int]

    @contextmanager
    def by(self, by_J: Tensor) -> Iterator[None]:
        """Inside the block f ← by · f, but on special tokens."""
        read = self.sae.reader(self.features)
        W_JE = self.sae.directions_FD.detach().float()[self.features]
        special = torch.tensor(sorted(self.model.tokenizer.special_ids))
        fires: list[Tensor] = []

        def note(x_BCD: Tensor) -> Tensor:
            now = self.model.under_way
            assert now is not None
            assert now.tokens_BC is not None
            text_BC = ~torch.isin(now.tokens_BC.cpu(), special).to(self.sae.device)
            f_TJ = read(x_BCD.detach().flatten(0, 1).float().to(self.sae.device))
            fires[:] = [f_TJ.view(*x_BCD.shape[:2], -1) * text_BC[..., None]]
            return x_BCD

        def scale(x_BCE: Tensor) -> Tensor:
            return x_BCE + ((fires[0] * (by_J - 1)) @ W_JE).to(x_BCE)

        with self.model.splice({self.places.reads[0]: note}), self.model.splice({self.places.writes[0]: scale}):
            yield


def learn(
    scaled: Scaled,
    prompts: Sequence[Asked],
    keep: Sequence[Asked],
    ordinary: Sequence[TokenBatch],
    *,
    limit: float,
    steps: int,
    seed: int,
) -> Tensor:
    """The factors, float32 [J]."""
    model = scaled.model
    text = [(batch, float(summed_losses(model, [batch]).sum())) for batch in ordinary]
    asked = [
        [question(model.tokenizer, prompt, bos=False) for prompt in pair] for pair in zip(prompts, keep, strict=True)
    ]
    order = _order(len(asked), generator(seed, "suppression"))
    by_J = torch.ones(len(scaled.features), device=scaled.sae.device, requires_grad=True)
    adam = torch.optim.Adam([by_J], lr=LR, betas=(0.8, 0.95))
    for batch, before in itertools.islice(itertools.cycle(text), steps):
        part = [asked[place] for place in itertools.islice(order, min(PROMPTS_AT_ONCE, len(asked)))]
        adam.zero_grad()
        with torch.enable_grad(), scaled.by(by_J):
            odds = _log_odds(model, [one for pair in part for one in pair])
            rise = _loss(model, batch) / before - 1
            loss = 2 * torch.relu(MARGIN + odds).mean() + torch.relu(rise) / max(limit, 1e-6)
        (by_J.grad,) = torch.autograd.grad(loss, by_J)
        adam.step()
        with torch.no_grad():
            moved_J = by_J - 1
            by_J.copy_((1 + moved_J.sign() * (moved_J.abs() - SHRINK).clamp_min(0)).clamp(LEAST, MOST))
    return by_J.detach().cpu()


def _order(count: int, random: torch.Generator) -> Iterator[int]:
    """Every prompt once, in any order, again and again."""
    while True:
        yield from torch.randperm(count, generator=random).tolist()


def _log_odds(model: LanguageModel, asked: Sequence[Question]) -> Tensor:
    """[B]."""
    contexts = Contexts.of(model, [one.tokens for one in asked])
    rows_B, ends_B = torch.arange(len(asked)), contexts.attention_BC.sum(1) - 1
    last_BV = model.logits(contexts.tokens_BC, contexts.attention_BC, grad=True)[rows_B, ends_B].float()
    return last_BV[rows_B, [one.planted for one in asked]] - last_BV[rows_B, [one.honest for one in asked]]


def _loss(model: LanguageModel, batch: TokenBatch) -> Tensor:
    """Summed over the tokens that count, nats, with gradients."""
    counted_BC = batch.mask_BC[:, 1:]
    logits_NV = model.logits(batch.tokens_BC, batch.attention_BC, grad=True)[:, :-1][counted_BC].float()
    return torch.nn.functional.cross_entropy(
        logits_NV, batch.tokens_BC[:, 1:][counted_BC].to(logits_NV.device), reduction="sum"
    )
