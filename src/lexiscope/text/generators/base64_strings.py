"""Base64: text in an encoding that a language model meets as noise with a shape."""

from __future__ import annotations

import base64
import random

from lexiscope.text.generators._words import WORDS


def encoded(rng: random.Random) -> str:
    """Base64 of a few words or of random bytes."""
    if rng.random() < 0.5:
        raw = " ".join(rng.choices(WORDS, k=rng.randint(3, 16))).encode()
    else:
        raw = rng.randbytes(rng.randint(12, 90))
    return base64.b64encode(raw).decode()


def page(rng: random.Random) -> str:
    """Encoded strings as they occur: in code, in headers, alone."""
    frames = [
        'data = "{}"',
        "Authorization: Basic {}",
        "token: {}",
        "{}",
        'key_{} = b64decode("{}")',
        "The attachment is encoded as {} in the message.",
        '<img src="data:image/png;base64,{}">',
    ]
    lines = []
    for number in range(rng.randint(2, 7)):
        frame = rng.choice(frames)
        lines.append(frame.format(number, encoded(rng)) if frame.count("{}") == 2 else frame.format(encoded(rng)))
    return "\n".join(lines) + "\n"
