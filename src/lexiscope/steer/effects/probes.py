"""Probes: tasks with one right answer, to see whether a steered model can still do them.

The model is right where the logit of the right next token is above that of the wrong one. The sentences are those that
the package's generators write: a verb that agrees with its subject, and the one of two people who is given something.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import derive_seed
from lexiscope.index.feature import Record
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.effects.controls import adding
from lexiscope.steer.effects.goals import Prompts
from lexiscope.steer.effects.intervals import Share, share_of
from lexiscope.text.generators import agreement, indirect_objects
from lexiscope.text.generators._words import AUXILIARIES, people

QUESTIONS = 48
_MOST_TRIES = 20


class ProbeScore(Record):
    """How often a model is right."""

    task: str
    accuracy: Share


class Probe(NamedTuple):
    """Questions of one task."""

    task: str
    prompts: Prompts
    right_B: Tensor
    wrong_B: Tensor

    @torch.no_grad()
    def score(self, model: LanguageModel, hook: HookPoint | None = None, vector_D: Tensor | None = None) -> ProbeScore:
        """With a vector added at every token, or as it is."""
        contexts = self.prompts.contexts
        if hook is None or vector_D is None:
            logits_BCV = model.logits(contexts.tokens_BC, contexts.attention_BC)
        else:
            with adding(model, hook, vector_D):
                logits_BCV = model.logits(contexts.tokens_BC, contexts.attention_BC)
        at_end_BV = logits_BCV[self.prompts.measured_BC].cpu()
        right_B, wrong_B = (at_end_BV.gather(1, of_B[:, None])[:, 0] for of_B in (self.right_B, self.wrong_B))
        return ProbeScore(task=self.task, accuracy=share_of((right_B > wrong_B).tolist()))


def standard_probes(model: LanguageModel, *, questions: int = QUESTIONS, seed: int = 0) -> list[Probe]:
    """Agreement and indirect objects, without a task whose answers this tokenizer can't tell apart by a first token."""
    return [
        probe
        for task, drawn in (("subject-verb agreement", _agreement), ("indirect object", _indirect_objects))
        if (probe := _probe(model, task, drawn(random.Random(derive_seed(seed, task))), questions))
    ]


def _probe(model: LanguageModel, task: str, drawn: Iterator[tuple[str, str, str]], questions: int) -> Probe | None:
    texts, right, wrong = [], [], []
    for _ in range(questions * _MOST_TRIES):
        prompt, *answers = next(drawn)
        alone = model.tokenizer.encode(prompt).ids
        both = [model.tokenizer.encode(f"{prompt} {answer}").ids for answer in answers]
        firsts = [ids[len(alone)] for ids in both if ids[: len(alone)] == alone and len(ids) > len(alone)]
        if len(firsts) == 2 and firsts[0] != firsts[1]:
            texts.append(alone)
            right.append(firsts[0])
            wrong.append(firsts[1])
        if len(texts) == questions:
            break
    if not texts:
        return None
    try:
        prompts = Prompts.of(model, texts)
    except InputError:  # the model has no room for a sentence
        return None
    return Probe(task, prompts, torch.tensor(right), torch.tensor(wrong))


def _agreement(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    while True:
        phrase = agreement.phrase(rng)
        plural, singular = rng.choice(list(AUXILIARIES.items()))
        answers = (plural, singular) if phrase.plural else (singular, plural)
        yield (phrase.prompt, *answers)


def _indirect_objects(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    while True:
        made = indirect_objects.sentence(rng, people(rng, 2))
        yield made.prompt, made.indirect_object, made.subject
