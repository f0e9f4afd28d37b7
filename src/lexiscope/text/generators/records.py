"""Records: addresses, hexadecimal numbers, log lines, settings and JSON, as machines write them."""

from __future__ import annotations

import json
import random

from lexiscope.text.generators._words import ADJECTIVES, NOUNS, OBJECTS, PLACES, people

LEVELS = ["INFO", "WARNING", "ERROR", "DEBUG"]


def address(rng: random.Random) -> str:
    """A web address."""
    service, site = rng.choice(["www", "docs", "api", "mail"]), rng.choice(list(NOUNS)) + rng.choice(PLACES)
    host = f"{service}.{site}.{rng.choice(['com', 'org', 'net'])}"
    path = "/".join(rng.choice(OBJECTS) for _ in range(rng.randint(1, 3)))
    query = f"?id={rng.randint(1, 9999)}" if rng.random() < 0.4 else ""
    return f"{rng.choice(['http', 'https'])}://{host}/{path}{query}"


def value(rng: random.Random, depth: int = 0) -> object:
    """A value for JSON, nested at most three deep."""
    plain = [rng.randint(0, 9999), rng.choice(OBJECTS), rng.random() < 0.5, None, round(rng.uniform(0, 99), 2)]
    if depth < 3 and rng.random() < 0.4:
        if rng.random() < 0.5:
            return [value(rng, depth + 1) for _ in range(rng.randint(1, 4))]
        return {rng.choice(list(NOUNS)): value(rng, depth + 1) for _ in range(rng.randint(1, 4))}
    return rng.choice(plain)


def line(rng: random.Random) -> str:
    """One line of a log, a header or a settings file."""
    (name,) = people(rng, 1)
    clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    return rng.choice(
        [
            f"See {address(rng)} for more.",
            f"[{clock}] {rng.choice(LEVELS)} {rng.choice(OBJECTS)} {rng.choice(ADJECTIVES)}",
            f"address 0x{rng.getrandbits(32):08x} size 0x{rng.getrandbits(12):x}",
            f"sha1 {rng.getrandbits(160):040x}",
            f"{name} <{name.lower()}@{rng.choice(PLACES)}.org>",
            f"{rng.choice(OBJECTS).upper()}_{rng.choice(PLACES).upper()}={rng.randint(0, 999)}",
            f"{rng.choice(OBJECTS)}.{rng.choice(PLACES)} = {rng.choice(['true', 'false', 'none'])}",
            f"#{rng.getrandbits(24):06x}",
            f"{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}",
        ]
    )


def page(rng: random.Random) -> str:
    """A few lines, or one JSON value."""
    if rng.random() < 0.3:
        return (
            json.dumps({name: value(rng) for name in rng.sample(list(NOUNS), 3)}, indent=rng.choice([None, 2])) + "\n"
        )
    return "\n".join(line(rng) for _ in range(rng.randint(5, 14))) + "\n"
