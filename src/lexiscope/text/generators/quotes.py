"""Quoted speech: who says what, with the quotation marks that open and close it."""

from __future__ import annotations

import random

from lexiscope.text.generators._words import ADJECTIVES, ADVERBS, OBJECTS, PLACES, people, with_article

SAYINGS = [
    "I can't find the {object}",
    "Where is the {object}",
    "We went to the {place} yesterday",
    "It's too {adjective} for me",
    "Don't forget the {object}",
    "You are very {adjective} today",
    "I'll meet you at the {place}",
    "Please bring me the {adjective} {object}",
    "There isn't {an_object} in the {place}",
    "That {object} isn't mine",
    "Let's go to the {place}",
    "I haven't seen it",
]
VERBS = ["said", "asked", "replied", "cried", "whispered", "answered", "shouted", "murmured"]


def saying(rng: random.Random) -> str:
    """What somebody says, without an end mark."""
    thing = rng.choice(OBJECTS)
    things = {
        "object": thing,
        "an_object": with_article(thing),
        "place": rng.choice(PLACES),
        "adjective": rng.choice(ADJECTIVES),
    }
    return rng.choice(SAYINGS).format(**things)


def page(rng: random.Random) -> str:
    """A short conversation between two people."""
    speakers = people(rng, 2)
    lines = []
    for turn in range(rng.randint(3, 9)):
        name, verb, words = speakers[turn % 2], rng.choice(VERBS), saying(rng)
        mark = "?" if verb == "asked" else rng.choice([",", ",", "!"])
        frames = [
            f'"{words}{mark}" {verb} {name}.',
            f'"{words}{mark}" {verb} {name} {rng.choice(ADVERBS)}.',
            f'{name} {verb}, "{words}{"?" if mark == "?" else "."}"',
            f'"{words}," {name} {verb}, "and then {rng.choice(ADJECTIVES)} again."',
        ]
        lines.append(rng.choice(frames))
    return rng.choice(["\n", "\n\n", " "]).join(lines) + "\n"
