"""Repeats: a passage of random words, then the same passage again.

The second time every word can be told from the first: what induction heads do (Olsson et al. 2022).
"""

from __future__ import annotations

import random

from lexiscope.text.generators._words import WORDS, people


def passage(rng: random.Random, words: int) -> list[str]:
    """Random words and names in random order."""
    return [people(rng, 1)[0] if rng.random() < 0.4 else rng.choice(WORDS) for _ in range(words)]


def page(rng: random.Random) -> str:
    """A passage two to four times, sometimes with a few other words between."""
    words = passage(rng, rng.randint(5, 40))
    parts: list[str] = []
    for _ in range(rng.randint(2, 4)):
        parts += words
        if rng.random() < 0.3:
            parts += passage(rng, rng.randint(1, 5))
    return rng.choice([" ", " ", ", ", "\n"]).join(parts) + "\n"
