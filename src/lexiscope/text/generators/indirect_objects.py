"""Indirect objects: two people, one of them named again, who then gives something to the other.

"When Mary and John went to the store, John gave a drink to Mary." The last name can be told from the sentence alone,
whoever the two are (Wang et al. 2022, "Interpretability in the Wild").
"""

from __future__ import annotations

import random
from typing import NamedTuple

from lexiscope.text.generators._words import OBJECTS, PLACES, people, with_article

OPENINGS = [
    "When {a} and {b} went to the {place}, ",
    "When {a} and {b} arrived at the {place}, ",
    "When {a} and {b} got {an_object} at the {place}, ",
    "After {a} and {b} went to the {place}, ",
    "After {a} and {b} had lunch at the {place}, ",
    "While {a} and {b} were working at the {place}, ",
    "While {a} and {b} were walking to the {place}, ",
    "Then, {a} and {b} went to the {place}. ",
    "Then, {a} and {b} had a long argument. ",
    "Then, {a} and {b} were thinking about going to the {place}. ",
    "Afterwards, {a} and {b} met at the {place}. ",
    "Friends {a} and {b} found {an_object} at the {place}. ",
    "One day {a} and {b} were at the {place}. ",
    "Yesterday {a} met {b} near the {place}. ",
    "The {place} was empty but for {a} and {b}. ",
    "{a} and {b} sat in the {place}. ",
    "{a} saw {b} at the {place}. ",
    "Soon after {a} and {b} came to the {place}, ",
]
GIFTS = [
    "{s} gave {an_object} to",
    "{s} gave the {object} to",
    "{s} decided to give {an_object} to",
    "{s} wanted to give the {object} to",
    "{s} handed {an_object} to",
    "{s} passed the {object} to",
    "{s} sent {an_object} to",
    "{s} showed the {object} to",
    "{s} offered {an_object} to",
    "{s} brought {an_object} to",
    "{s} said something to",
    "{s} sold the {object} to",
]
ENDINGS = [".", ".", ".", " and smiled.", " at once.", ", who was glad.", " with a smile.", " without a word."]


class Sentence(NamedTuple):
    """A sentence up to the name that is to be told."""

    prompt: str
    indirect_object: str
    subject: str


def sentence(rng: random.Random, names: list[str]) -> Sentence:
    """One sentence about two different people; which of them is named first is a coin toss."""
    giver, receiver = rng.sample(names, 2)
    first, second = rng.sample([giver, receiver], 2)
    thing = rng.choice(OBJECTS)
    things = {"place": rng.choice(PLACES), "object": thing, "an_object": with_article(thing)}
    opening = rng.choice(OPENINGS).format(a=first, b=second, **things)
    return Sentence(opening + rng.choice(GIFTS).format(s=giver, **things), receiver, giver)


def page(rng: random.Random) -> str:
    """A few sentences, each about other people."""
    sentences = []
    for _ in range(rng.randint(3, 10)):
        made = sentence(rng, people(rng, 2))
        sentences.append(f"{made.prompt} {made.indirect_object}{rng.choice(ENDINGS)}")
    return rng.choice(["\n", " "]).join(sentences) + "\n"
