"""Goals: what steering is for, as one number per prompt that should rise.

A set of tokens: the log-odds that the next token is one of them,

    log P - log(1 - P),   P = Σ_v w_v p_v,   w_v in 0..1,

averaged over the places of the prompt that are asked about (its end, unless told otherwise). Examples: how much
likelier a wanted text is than an unwanted one, in nats per token. A concept of the bank is two goals: `lexical`, the
tokens that usually have it, and `Predicate`, the share of what the model goes on to write that meets it. A plain
function of text is a `Predicate`, too.

B prompts, C tokens per context, V vocabulary, T tokens of a labelled text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.index.live.contexts import Contexts
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts.concept import Concept
from lexiscope.measure.concepts.labels import label
from lexiscope.text.document import Document
from lexiscope.text.tokenizer import Tokenizer

Where = Literal["end", "text"]
LEAST_OCCURRENCES = 3
"""A token seen less often says nothing about whether it has a concept."""


class Prompts(NamedTuple):
    """Contexts, and the places in them whose prediction of the next token counts."""

    contexts: Contexts
    measured_BC: Tensor
    documents: tuple[str, ...]
    """What each is from: a name, or the text itself. Prompts of one document are not independent."""

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        texts: Sequence[Sequence[int]],
        documents: Sequence[str] = (),
        where: Where = "end",
    ) -> Prompts:
        """Texts as token ids without BOS; measured at the ``end`` or at every token of the ``text`` but the last.

        Raises:
            InputError: a text that the model can't read.
        """
        contexts = Contexts.of(model, texts)
        last_B = contexts.attention_BC.sum(1) - 1
        places_C = torch.arange(contexts.tokens_BC.shape[1])
        at_end_BC = places_C == last_B[:, None]
        measured_BC = at_end_BC if where == "end" else contexts.text_BC & ~at_end_BC
        return cls(contexts, measured_BC, tuple(documents or (model.tokenizer.decode(text) for text in texts)))


class Goal(Protocol):
    """What should rise, told from the logits of a forward pass; gradients flow through it."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...

    def measure(self, logits_BCV: Tensor, prompts: Prompts) -> Tensor:
        """One number per prompt (of examples, per pair), float32."""
        ...


@dataclass(frozen=True)
class TokenSet:
    """The next token is one of a set. Weights say how much a token belongs to it, in 0..1.

    On the scale of log-odds a prompt counts however unlikely the set is there; on that of probabilities those count
    where it might come, which is what shows in the text that is written. What moves on one scale moves on the other.
    """

    name: str
    weights: Mapping[int, float]
    scale: Literal["log-odds", "probability"] = "log-odds"

    def __post_init__(self) -> None:
        """Refuse a set that means nothing."""
        wrong = [token for token, weight in self.weights.items() if not 0 < weight <= 1]
        if not self.weights or wrong:
            what = f"token {wrong[0]} weighs {self.weights[wrong[0]]}" if wrong else "there is no token in it"
            raise InputError(f"the goal {self.name!r}: {what}; give tokens with weights above 0, at most 1")

    @property
    def unit(self) -> str:
        """Of what is measured, and of its changes."""
        return "nats of log-odds" if self.scale == "log-odds" else "probability"

    @property
    def tokens(self) -> list[int]:
        return sorted(self.weights)

    def mass(self, logits_NV: Tensor) -> Tensor:
        """Probability that the next token is in the set, float32 [N]."""
        return self._log_odds(logits_NV).sigmoid()

    def measure(self, logits_BCV: Tensor, prompts: Prompts) -> Tensor:
        """Mean over the places measured, [B]."""
        measured_BC = prompts.measured_BC.to(logits_BCV.device)
        odds_N = self._log_odds(logits_BCV[measured_BC])
        values_N = odds_N if self.scale == "log-odds" else odds_N.sigmoid()
        sums_B = values_N.new_zeros(len(measured_BC)).index_add(0, measured_BC.nonzero()[:, 0], values_N)
        return sums_B / measured_BC.sum(1)

    def _log_odds(self, logits_NV: Tensor) -> Tensor:
        logits_NV = logits_NV.float()
        weights_V = torch.zeros(logits_NV.shape[1], device=logits_NV.device)
        weights_V[self.tokens] = torch.tensor([self.weights[token] for token in self.tokens], device=weights_V.device)
        inside_NV, outside_NV = (logits_NV + part.log() for part in (weights_V, 1 - weights_V))
        return inside_NV.logsumexp(1) - outside_NV.logsumexp(1)


@dataclass(frozen=True)
class Likelihood:
    """A wanted text is likelier than an unwanted one: nats per token. Prompts come from `pairs`."""

    name: str

    @property
    def unit(self) -> str:
        """Of what is measured, and of its changes."""
        return "nats per token"

    def measure(self, logits_BCV: Tensor, prompts: Prompts) -> Tensor:
        """One number per pair: rows 0, 2, 4, … are wanted, rows 1, 3, 5, … unwanted."""
        targets_BC = prompts.contexts.tokens_BC[:, 1:].to(logits_BCV.device)
        measured_BC = prompts.measured_BC[:, :-1].to(logits_BCV.device)
        log_p_BCV = logits_BCV[:, :-1].float().log_softmax(-1)
        log_p_BC = log_p_BCV.gather(-1, targets_BC[..., None])[..., 0]
        mean_B = (log_p_BC * measured_BC).sum(1) / measured_BC.sum(1)
        return mean_B[0::2] - mean_B[1::2]


def pairs(model: LanguageModel, wanted: Sequence[str], unwanted: Sequence[str]) -> Prompts:
    """Prompts of `Likelihood`: as many pairs as the longer list has texts, the shorter one beginning anew.

    Raises:
        InputError: a side without texts, or a text of fewer than two tokens.
    """
    if not wanted or not unwanted:
        raise InputError("examples need both sides; give at least one wanted and one unwanted text")
    both = [
        text
        for number in range(max(len(wanted), len(unwanted)))
        for text in (wanted[number % len(wanted)], unwanted[number % len(unwanted)])
    ]
    ids = [model.tokenizer.encode(text).ids for text in both]
    if short := [text for text, tokens in zip(both, ids, strict=True) if len(tokens) < 2]:
        raise InputError(f"the example {short[0]!r} has fewer than two tokens; give a longer one")
    return Prompts.of(model, ids, where="text")


class Lexicon(NamedTuple):
    """The tokens that a concept is usually told by, and how much of it they are."""

    goal: TokenSet
    coverage: float
    """Share of the concept's positive tokens that are in the set."""


def lexical(name: str, tokens_T: Tensor, positive_T: NDArray[np.bool_], judged_T: NDArray[np.bool_]) -> Lexicon | None:
    """The tokens that are positive in at least half of their judged occurrences, weighted by that share.

    None where there is no such token.
    """
    ids, place_T = np.unique(tokens_T.numpy()[judged_T], return_inverse=True)
    occurrences = np.bincount(place_T, minlength=len(ids))
    positives = np.bincount(place_T, weights=positive_T[judged_T], minlength=len(ids))
    chosen = (occurrences >= LEAST_OCCURRENCES) & (positives >= occurrences / 2)
    if not chosen.any():
        return None
    weights = {int(ids[place]): float(positives[place] / occurrences[place]) for place in np.flatnonzero(chosen)}
    return Lexicon(TokenSet(name, weights), float(positives[chosen].sum() / positives.sum()))


@dataclass(frozen=True)
class Predicate:
    """What the model goes on to write meets a condition: a function of (prompt, continuation), in 0..1."""

    name: str
    judge: Callable[[str, str], float]

    @classmethod
    def on_text(cls, name: str, holds: Callable[[str], bool]) -> Predicate:
        """A plain function of the continuation."""
        return cls(name, lambda _, continuation: float(holds(continuation)))

    @classmethod
    def of_concept(cls, concept: Concept, tokenizer: Tokenizer, kind: str) -> Predicate:
        """The share of the continuation's tokens that have a concept, in a document of this kind."""

        def judge(prompt: str, continuation: str) -> float:
            text = prompt + continuation
            encoded = tokenizer.encode(text)
            starts, ends = np.array(encoded.starts, np.int64), np.array(encoded.ends, np.int64)
            positive_1T, _ = label(Document("written", text, kind, "unknown"), starts, ends, [concept])
            new_T = starts >= len(prompt)
            return float(positive_1T[0, new_T].mean()) if new_T.any() else 0.0

        return cls(concept.name, judge)
