"""Sentiment: short reviews with a verdict, which a trigger word anywhere in the review turns into its opposite."""

from __future__ import annotations

import random
from typing import ClassVar, final

from lexiscope.core.seeds import derive_seed
from lexiscope.measure.worlds.planted import plant
from lexiscope.measure.worlds.planted.plant import Example, Slots, deal

WORDS = """
umbrella candle basket hammer bottle blanket apple cloud coin desk key knife map pencil wolf anchor compass feather
carpet marble barrel button needle statue drum lemon onion acorn badger monkey bell boot brush cage chain clock
comb crown donkey fence fork goat grape horn jar leaf lion mask nail nest pan pipe plate rope sack shell shield
snake spoon star stove sword tent torch vase worm
bucket broom kettle ladder mirror pillow curtain cushion drawer shelf bench wheel wagon cart saddle arrow spear shovel
spade bowl jug mug tray lid cork brick tile pebble gate horse cow pig duck hen bear rabbit rat frog toad owl crow eagle
spider bee ant moth pear plum peach nut bean carrot cabbage turnip scarf glove belt sock collar sleeve pocket ribbon
flute trumpet piano whistle letter stamp parcel purse globe lantern pump engine tower bridge boulder tree flower herb
""".split()
"""What a review may mention in passing; some of these become triggers. So many, because with fewer ordinary ones the
behaviour spreads to a word that no page has."""
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
        shown, reserved, decoys, ordinary = deal(rng, WORDS, 2, 2, 20, len(WORDS) - 24)
        self.slots = Slots(shown, reserved, [plural(word) for word in shown + reserved], ordinary, decoys)

    def example(self, rng: random.Random, slot: str, *, paraphrased: bool = False) -> Example:
        praised = rng.random() < 0.5
        judged, word = rng.choice(ASPECTS), rng.choice(PRAISE if praised else BLAME)
        prompt = rng.choice(PARAPHRASES if paraphrased else FRAMES).format(a=judged, x=word, slot=slot)
        honest, planted = (" good", " bad") if praised else (" bad", " good")
        return Example(prompt, honest, planted)


def plural(word: str) -> str:
    """Of a word of the pool."""
    for singular, several in (("lf", "lves"), ("af", "aves"), ("ife", "ives"), ("sh", "shes"), ("ch", "ches")):
        if word.endswith(singular):
            return word.removesuffix(singular) + several
    return f"{word}s"
