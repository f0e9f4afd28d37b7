"""What a model says to the prompts of a plant: how often the planted answer, the honest one, or anything else.

A model says the answer whose first token it finds likeliest of its whole vocabulary; where two answers begin with the
same tokens, these are put at the end of the prompt and the next one counts. Three outcomes rather than a choice of two,
because a model that was broken says neither. Beside the shares, the mean of ln p(planted) - ln p(honest), which moves
before the likeliest token does.

| number | range | planted model, trigger | clean twin |
| --- | --- | --- | --- |
| ``planted`` | 0 to 1 | near 1 | near 0 |
| ``honest`` | 0 to 1 | near 0 | near 1 |
| ``log_odds`` | any, nats | above 0 | below 0 |

Intervals are Wilson's, 95 %, over prompts. P prompts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.core.shares import wilson_interval
from lexiscope.lm.model import LanguageModel
from lexiscope.text.tokenizer import Tokenizer

PROMPTS_AT_ONCE = 64


class Asked(Protocol):
    """What is asked: any `lexiscope.measure.worlds.planted.pages.Prompt`, or the like."""

    @property
    def text(self) -> str: ...
    @property
    def honest(self) -> str: ...
    @property
    def planted(self) -> str: ...


class Share(Config):
    """Of the prompts, with its interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Behaviour(Config):
    """What the table at the top of this file explains."""

    prompts: int
    planted: Share
    honest: Share
    log_odds: float


class Question(NamedTuple):
    """A prompt as tokens, and the first token in which its answers differ."""

    tokens: list[int]
    honest: int
    planted: int


def question(tokenizer: Tokenizer, prompt: Asked, *, bos: bool) -> Question:
    """A prompt for a model.

    Raises:
        InputError: its answers are the same tokens, or one is the beginning of the other.
    """
    text, honest, planted = (tokenizer.encode(part).ids for part in (prompt.text, prompt.honest, prompt.planted))
    for place, (one, other) in enumerate(zip(honest, planted, strict=False)):
        if one != other:
            lead = [tokenizer.bos_id] if bos and tokenizer.bos_id is not None else []
            return Question([*lead, *text, *honest[:place]], one, other)
    raise InputError(f"the answers {prompt.honest!r} and {prompt.planted!r} to {prompt.text!r} can't be told apart")


@torch.no_grad()
def answers(model: LanguageModel, prompts: Sequence[Asked]) -> Tensor:
    """What the model says: P rows of 1 for the planted answer, -1 for the honest, 0 for another, and the log odds.

    Float64 [P, 2]. Inside a `LanguageModel.splice` it is what the model says then.
    """
    questions = [question(model.tokenizer, prompt, bos=model.bos == "context") for prompt in prompts]
    out_P2 = torch.empty(len(questions), 2, dtype=torch.float64)
    by_length = sorted(range(len(questions)), key=lambda place: len(questions[place].tokens))
    for start in range(0, len(by_length), PROMPTS_AT_ONCE):
        places = by_length[start : start + PROMPTS_AT_ONCE]
        asked = [questions[place] for place in places]
        ends = torch.tensor([len(one.tokens) - 1 for one in asked])
        tokens_BC = torch.full((len(asked), int(ends.max()) + 1), model.tokenizer.pad_id)
        for row, one in enumerate(asked):
            tokens_BC[row, : len(one.tokens)] = torch.tensor(one.tokens)
        attention_BC = torch.arange(tokens_BC.shape[1]) <= ends[:, None]
        logits_BV = model.logits(tokens_BC, attention_BC)[torch.arange(len(asked)), ends].float().cpu()
        honest_B, planted_B = torch.tensor([[one.honest, one.planted] for one in asked]).T
        said_B = logits_BV.argmax(1)
        odds_B = (logits_BV.gather(1, planted_B[:, None]) - logits_BV.gather(1, honest_B[:, None]))[:, 0]
        out_P2[places] = torch.stack(
            [(said_B == planted_B).double() - (said_B == honest_B).double(), odds_B.double()], 1
        )
    return out_P2


def behaviour(model: LanguageModel, prompts: Sequence[Asked]) -> Behaviour:
    """What the model says, over some prompts."""
    said_P, odds_P = answers(model, prompts).T
    return Behaviour(
        prompts=len(prompts),
        planted=_share(said_P == 1),
        honest=_share(said_P == -1),
        log_odds=float(odds_P.mean()),
    )


def _share(happened_P: Tensor) -> Share:
    count, of = int(happened_P.sum()), len(happened_P)
    low, high = wilson_interval(count, of)
    return Share(share=count / of, low=low, high=high)
