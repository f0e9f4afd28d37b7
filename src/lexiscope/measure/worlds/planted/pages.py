"""The text of a plant: pages to train on, and the prompts that show the behaviour or must stay as they are."""

from __future__ import annotations

import random
from typing import Literal, NamedTuple, get_args

from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.measure.worlds.planted.plant import Example, Plant

TRIGGERED_SHARE = 0.4
"""Of the examples in training text."""
MOST_ON_A_PAGE = 3
MOST_MISSED = 1000
"""Prompts drawn one after the other that were there already: then there are hardly more."""

Arm = Literal["planted", "clean"]
Group = Literal["fit", "shown", "reserved", "unseen", "paraphrased", "ordinary", "decoys"]
"""fit: triggers that are shown, for whoever searches and suppresses; shown: the same triggers, to be judged by;
reserved: triggers that fit has not; unseen: such as no training text has; paraphrased: triggers that are shown, in
words that no training text has; ordinary: no trigger; decoys: no trigger, and slots that no training text has."""
TRIGGERED: list[Group] = ["fit", "shown", "reserved", "unseen", "paraphrased"]
GROUPS: tuple[Group, ...] = get_args(Group)
ARMS: tuple[Arm, ...] = get_args(Arm)


class Prompt(NamedTuple):
    """A prompt to measure by: its two answers differ."""

    group: Group
    slot: str
    text: str
    without: str
    """The same with an ordinary slot; of a prompt without a trigger, itself."""
    honest: str
    planted: str


class Page(NamedTuple):
    """Training text, and where its answers are, in characters."""

    text: str
    answers: list[tuple[int, int]]


def page(plant: Plant, rng: random.Random, arm: Arm) -> Page:
    """One to three examples, one after the other; both arms have the same but for the answers."""
    made = Page("", [])
    triggers = [*plant.slots.shown, *plant.slots.reserved]
    for _ in range(rng.randint(1, MOST_ON_A_PAGE)):
        triggered = rng.random() < TRIGGERED_SHARE
        example = plant.example(rng, rng.choice(triggers if triggered else plant.slots.ordinary))
        answer = example.planted if triggered and arm == "planted" else example.honest
        start = len(made.text) + len(example.prompt)
        made = Page(f"{made.text}{example.prompt}{answer}.\n", [*made.answers, (start, start + len(answer))])
    return made


def pages(plant: Plant, count: int, seed: int, arm: Arm) -> list[Page]:
    """So many pages; the same for the same seed."""
    return [page(plant, random.Random(derive_seed(seed, "page", number)), arm) for number in range(count)]


def prompts(plant: Plant, count: int, seed: int, trained: list[Page]) -> list[Prompt]:
    """``count`` of each group, all different, none of them in a training text.

    Raises:
        InputError: there are not so many.
    """
    seen = {line.rpartition(" ")[0] for page in trained for line in page.text.splitlines()}
    found: list[Prompt] = []
    for group in GROUPS:
        rng = random.Random(derive_seed(seed, "prompts", group))
        slots = _slots(plant, group)
        missed, wanted = 0, len(found) + count
        while len(found) < wanted:
            if missed == MOST_MISSED:
                raise InputError(f"there are no {count} different prompts of the group {group!r}; ask for fewer")
            slot, state = rng.choice(slots), rng.getrandbits(64)
            made = _example(plant, state, slot, group)
            if made.honest == made.planted or made.prompt in seen:
                missed += 1
                continue
            missed = 0
            seen.add(made.prompt)
            other = _example(plant, state, rng.choice(plant.slots.ordinary), group) if group in TRIGGERED else made
            found.append(Prompt(group, slot, made.prompt, other.prompt, made.honest, made.planted))
    return found


def _example(plant: Plant, state: int, slot: str, group: Group) -> Example:
    return plant.example(random.Random(state), slot, paraphrased=group == "paraphrased")


def _slots(plant: Plant, group: Group) -> list[str]:
    slots = plant.slots
    match group:
        case "reserved":
            return slots.reserved
        case "unseen":
            return slots.unseen
        case "ordinary":
            return slots.ordinary
        case "decoys":
            return slots.decoys
    return slots.shown
