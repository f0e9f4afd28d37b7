"""Subject-verb agreement: the verb follows the number of its subject, whatever noun stands between them.

"The uncles behind the dog are tired." Schemas after Linzen et al. 2016 and Marks et al. 2024: simple, across a
prepositional phrase, across and within a relative clause.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from lexiscope.text.generators._words import ADJECTIVES, ADVERBS, AUXILIARIES, NOUNS, PLACES, PREPOSITIONS, VERBS


class Phrase(NamedTuple):
    """A subject up to its verb; ``plural`` is the number that the verb must have."""

    prompt: str
    plural: bool
    clause_only: bool = False
    """The verb that follows ends a relative clause; the sentence still needs its own."""


def phrase(rng: random.Random) -> Phrase:
    """A subject with or without something between it and its verb."""
    singular, plural = rng.choice(list(NOUNS.items()))
    is_plural = rng.random() < 0.5
    subject = f"{rng.choice(['The', 'The', 'The', 'My', 'Their'])} {plural if is_plural else singular}"
    other_singular, other_plural = rng.choice(list(NOUNS.items()))
    other_is_plural = rng.random() < 0.5
    other = f"the {other_plural if other_is_plural else other_singular}"
    match rng.choice(["simple", "adjective", "preposition", "preposition", "across", "within"]):
        case "simple":
            return Phrase(subject, is_plural)
        case "adjective":
            article, noun = subject.split(" ", 1)
            return Phrase(f"{article} {rng.choice(ADJECTIVES)} {noun}", is_plural)
        case "preposition":
            return Phrase(f"{subject} {rng.choice(PREPOSITIONS)} {other}", is_plural)
        case "across":
            base, third = rng.choice(list(VERBS.items()))
            return Phrase(
                f"{subject} that {base if is_plural else third} {rng.choice(PREPOSITIONS)} {other}", is_plural
            )
        case _:
            return Phrase(f"{subject} that {other}", other_is_plural, clause_only=True)


def predicate(rng: random.Random, is_plural: bool) -> str:
    """A verb of the right number, and what follows it."""
    if rng.random() < 0.5:
        base, third = rng.choice(list(VERBS.items()))
        tail = rng.choice([rng.choice(ADVERBS), f"to the {rng.choice(PLACES)}", f"in the {rng.choice(PLACES)}"])
        return f"{base if is_plural else third} {tail}"
    plural, singular = rng.choice(list(AUXILIARIES.items()))
    tails = {"do": ["not know", "not care", "not wait"], "have": ["been here", "a house", "gone"]}
    tail = rng.choice(tails.get(plural, [rng.choice(ADJECTIVES), f"in the {rng.choice(PLACES)}"]))
    return f"{plural if is_plural else singular} {tail}"


def page(rng: random.Random) -> str:
    """A few sentences."""
    sentences = []
    for _ in range(rng.randint(5, 14)):
        made = phrase(rng)
        text = f"{made.prompt} {predicate(rng, made.plural)}"
        if made.clause_only:
            text += f" {rng.choice(['knew', 'saw', 'remembered', 'left', 'lost'])} it"
        sentences.append(text + ".")
    return rng.choice(["\n", " "]).join(sentences) + "\n"
