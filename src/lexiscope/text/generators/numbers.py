"""Numbers: counting, sums, dates, times, prices, years and measurements."""

from __future__ import annotations

import random

from lexiscope.text.generators._words import NOUNS, OBJECTS

MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
PLURALS = list(NOUNS.values())
SMALL = "zero one two three four five six seven eight nine ten eleven twelve".split()


def line(rng: random.Random) -> str:
    """One line about numbers."""
    a, b, step = rng.randint(0, 99), rng.randint(0, 99), rng.choice([1, 1, 2, 3, 5, 10])
    c, d = rng.randrange(13), rng.randrange(13)
    date = f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1700, 2040)}"
    return rng.choice(
        [
            ", ".join(str(a + step * n) for n in range(rng.randint(6, 14))),
            f"{a} + {b} = {a + b}",
            f"{max(a, b)} - {min(a, b)} = {abs(a - b)}",
            f"{c} * {d} = {c * d}",
            f"{SMALL[c].capitalize()} {rng.choice(PLURALS)} and {SMALL[d]} {rng.choice(PLURALS)}.",
            f"It happened on {rng.choice(DAYS)}, {date}.",
            (
                f"{rng.randint(1900, 2040)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} "
                f"{rng.randrange(24):02}:{rng.randrange(60):02}"
            ),
            f"The {rng.choice(OBJECTS)} costs ${rng.randint(1, 500)}.{rng.randrange(100):02}.",
            f"The war lasted from {(year := rng.randint(1100, 1980))} to {year + rng.randint(1, 19)}.",
            (
                f"The {rng.choice(OBJECTS)} weighs {rng.randint(1, 90)}.{rng.randrange(10)} kg, "
                f"about {rng.randint(1, 99)}%."
            ),
            f"x = {rng.uniform(-10, 10):.3f}, y = {rng.uniform(-10, 10):.3f}",
            " ".join([*DAYS, *DAYS][(start := rng.randrange(7)) : start + rng.randint(3, 6)]),
            " ".join(MONTHS[(start := rng.randrange(8)) : start + rng.randint(3, 5)]),
        ]
    )


def page(rng: random.Random) -> str:
    """A few lines."""
    return "\n".join(line(rng) for _ in range(rng.randint(6, 16))) + "\n"
