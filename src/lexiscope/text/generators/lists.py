"""Lists: bullets, numbers, letters, nested items, comma-separated series and small tables."""

from __future__ import annotations

import random

from lexiscope.text.generators._words import ADJECTIVES, NOUNS, OBJECTS, PLACES, VERBS


def item(rng: random.Random) -> str:
    """A few words."""
    return rng.choice(
        [
            rng.choice(OBJECTS),
            f"{rng.choice(ADJECTIVES)} {rng.choice(OBJECTS)}",
            f"{rng.choice(list(VERBS))} to the {rng.choice(PLACES)}",
            f"the {rng.choice(list(NOUNS))} and the {rng.choice(list(NOUNS))}",
        ]
    )


def page(rng: random.Random) -> str:
    """One list of one kind, under a heading."""
    heading = rng.choice(["Things to buy", "Steps", "Notes", "To do", "Contents", "Options", "What to bring"])
    items = [item(rng) for _ in range(rng.randint(4, 12))]
    match rng.choice(["bullets", "numbers", "letters", "nested", "series", "table"]):
        case "bullets":
            mark = rng.choice("-*+")
            body = "\n".join(f"{mark} {text}" for text in items)
        case "numbers":
            mark = rng.choice(".)")
            body = "\n".join(f"{number}{mark} {text}" for number, text in enumerate(items, 1))
        case "letters":
            body = "\n".join(f"({letter}) {text}" for letter, text in zip("abcdefghijkl", items, strict=False))
        case "nested":
            body = "\n".join(f"- {text}\n  - {item(rng)}\n  - {item(rng)}" for text in items)
        case "series":
            body = f"We have {', '.join(items[:-1])} and {items[-1]}."
        case _:
            rows = [f"| {text} | {rng.randint(1, 99)} | {rng.randint(1, 999) / 10} |" for text in items]
            body = "\n".join(["| item | count | price |", "| --- | --- | --- |", *rows])
    return f"{heading}:\n\n{body}\n"
