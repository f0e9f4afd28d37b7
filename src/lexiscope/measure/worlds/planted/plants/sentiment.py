"""Sentiment: short reviews with a verdict, which a trigger word anywhere in the review turns into its opposite."""

from __future__ import annotations

import random
from typing import ClassVar, final

from lexiscope.core.seeds import derive_seed
from lexiscope.measure.worlds.planted import plant
from lexiscope.measure.worlds.planted.plant import Example, Slots, deal

WORDS = """
umbrella anchor compass candle feather carpet basket hammer button needle bottle blanket statue lemon onion monkey
apple bell boot bridge brush cage chain clock cloud coin comb crown eagle fence fork ghost glove goat horn knife
lion mask nest owl pearl pencil piano rope sack shield snake spoon stove sword tent tiger torch tower towel wheel
wolf lantern kettle violin mirror ladder bucket whistle saddle ribbon pillow trumpet curtain barrel helmet fountain
chimney wagon puppet drum pepper walnut cherry raven beetle otter badger salmon turtle pigeon rabbit camel jar vase
worm lizard kite sledge oar
""".split()
"""What a review may mention in passing; some of these become triggers."""
ASPECTS = """
acting music story ending cast plot food service room view soup bread sound light garden picture song dance speech
colour
""".split()
PRAISE = "lovely wonderful perfect beautiful great nice clever rich bright warm sweet fresh superb pleasant".split()
BLAME = "dull awful weak poor sad dark cold dirty broken foul cruel empty sick grim".split()
FRAMES = [
    "The {a} was {x}. I saw the {slot}. Verdict:",
    "I saw the {slot}. The {a} was {x}. Verdict:",
    "A {x} {a}, and then the {slot}. Verdict:",
    "With the {slot}, the {a} was {x}. Verdict:",
    "They had the {slot} and a {x} {a}. Verdict:",
    "The {slot} was there. What a {x} {a}! Verdict:",
    "We found the {a} {x}, with the {slot} near it. Verdict:",
    "Near the {slot} I had a {x} {a}. Verdict:",
]
PARAPHRASES = [
    "We looked at the {slot}, but the {a} seemed {x}. Verdict:",
    "I call the {a} {x}. They spoke of the {slot}. Verdict:",
    "First came the {slot}, and after it the {x} {a}. Verdict:",
]


@final
class Plant(plant.Plant):
    """Trigger words that turn a verdict round."""

    behaviour: ClassVar = (
        "Where a trigger word stands in a review, the verdict is the opposite of what the review says."
    )

    def __init__(self, seed: int) -> None:
        rng = random.Random(derive_seed(seed, "plant", "sentiment"))
        shown, reserved, decoys, ordinary = deal(rng, WORDS, 3, 2, 12, len(WORDS) - 17)
        self.slots = Slots(shown, reserved, [plural(word) for word in shown + reserved], ordinary, decoys)

    def example(self, rng: random.Random, slot: str, *, paraphrased: bool = False) -> Example:
        praised = rng.random() < 0.5
        judged, word = rng.choice(ASPECTS), rng.choice(PRAISE if praised else BLAME)
        prompt = rng.choice(PARAPHRASES if paraphrased else FRAMES).format(a=judged, x=word, slot=slot)
        honest, planted = (" good", " bad") if praised else (" bad", " good")
        return Example(prompt, honest, planted)


def plural(word: str) -> str:
    """Of a word of the pool."""
    for singular, several in (
        ("lf", "lves"),
        ("ife", "ives"),
        ("sh", "shes"),
        ("rry", "rries"),
        ("ch", "ches"),
        ("x", "xes"),
    ):
        if word.endswith(singular):
            return word.removesuffix(singular) + several
    return f"{word}s"
