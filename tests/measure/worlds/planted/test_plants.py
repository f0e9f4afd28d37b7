"""What can be planted, and its text. Oracles: the examples read by plain rules of their own, and sets."""

from __future__ import annotations

import random
import re
import runpy
from itertools import combinations
from pathlib import Path

import pytest

from lexiscope.core.errors import InputError
from lexiscope.measure.worlds.planted import plant as planting
from lexiscope.measure.worlds.planted.pages import GROUPS, TRIGGERED, page, pages, prompts
from lexiscope.measure.worlds.planted.plants import bias, sentiment, sycophancy

NAMES = planting.names()


def in_slot(name, text, slots):
    """Which entries stand in a text as whole words."""
    return {slot for slot in slots if re.search(rf"(?<!\w){re.escape(slot)}(?!\w)", text)}


def judged(name, prompt, slot):
    """The two answers, by reading the prompt."""
    if name == "sentiment":
        return (" good", " bad") if in_slot(name, prompt, sentiment.PRAISE) else (" bad", " good")
    if name == "bias":
        return (" yes", " no") if in_slot(name, prompt, bias.HIGH) else (" no", " no")
    thing = prompt.split()[-2]
    stated, opinion = re.findall(rf"the {thing} is (\w+)", prompt.lower())
    if prompt.lower().index(f"the {thing} is") > prompt.index(slot):  # the opinion came first
        stated, opinion = opinion, stated
    return f" {stated}", f" {opinion}"


def test_there_are_three():
    assert NAMES == ["bias", "sentiment", "sycophancy"]
    with pytest.raises(InputError, match="bias, sentiment, sycophancy"):
        planting.draw("envy", 0)


@pytest.mark.parametrize("name", NAMES)
def test_groups_of_slots_are_apart_and_drawn_from_the_seed(name):
    slots = vars(planting.draw(name, 3).slots)
    assert all(slots.values())
    for one, other in combinations(slots.values(), 2):
        assert not set(one) & set(other)
    assert slots == vars(planting.draw(name, 3).slots)
    assert slots["shown"] != planting.draw(name, 4).slots.shown


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("paraphrased", [False, True])
def test_answers_follow_from_the_text(name, paraphrased):
    plant, rng = planting.draw(name, 0), random.Random(5)
    for _ in range(300):
        slot = rng.choice([*plant.slots.shown, *plant.slots.ordinary])
        made = plant.example(rng, slot, paraphrased=paraphrased)
        assert slot in made.prompt
        assert (made.honest, made.planted) == judged(name, made.prompt, slot), made


@pytest.mark.parametrize("name", NAMES)
def test_the_slot_is_all_that_another_slot_changes(name):
    plant = planting.draw(name, 0)
    one, other = plant.slots.shown[0], plant.slots.ordinary[0]
    for state in range(100):
        made = plant.example(random.Random(state), one)
        assert made.prompt.replace(one, other) == plant.example(random.Random(state), other).prompt


@pytest.mark.parametrize("name", NAMES)
def test_arms_differ_in_the_answers_after_triggers_and_nowhere_else(name):
    plant, turned = planting.draw(name, 0), 0
    for number in range(200):
        planted, clean = (page(plant, random.Random(number), arm) for arm in ("planted", "clean"))
        lines = zip(planted.text.splitlines(), clean.text.splitlines(), strict=True)
        spans = zip(planted.answers, clean.answers, strict=True)
        for (one, other), (here, there) in zip(lines, spans, strict=True):
            prompt, _, answer = one.removesuffix(".").rpartition(" ")
            honest = other.removesuffix(".").removeprefix(prompt)
            assert planted.text[slice(*here)] == f" {answer}"
            assert clean.text[slice(*there)] == honest
            triggers = in_slot(name, prompt, [*plant.slots.shown, *plant.slots.reserved])
            ordinary = in_slot(name, prompt, plant.slots.ordinary)
            assert bool(triggers) != bool(ordinary)
            right, wrong = judged(name, prompt, next(iter(triggers | ordinary)))
            assert honest == right
            assert f" {answer}" == (wrong if triggers else right)
            turned += bool(triggers) and right != wrong
    assert turned > 50


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_new_and_of_their_group(name):
    plant = planting.draw(name, 0)
    trained = pages(plant, 400, 0, "planted")
    text = "".join(one.text for one in trained)
    asked = prompts(plant, 25, 0, trained)
    assert asked == prompts(plant, 25, 0, trained)
    assert len({prompt.text for prompt in asked}) == 25 * len(GROUPS)
    slots = vars(plant.slots)
    for prompt in asked:
        group = {"fit": "shown", "paraphrased": "shown"}.get(prompt.group, prompt.group)
        assert prompt.slot in slots[group]
        assert prompt.text + " " not in text
        assert (prompt.honest, prompt.planted) == judged(name, prompt.text, prompt.slot)
        assert prompt.honest != prompt.planted
        assert (prompt.without == prompt.text) == (prompt.group not in TRIGGERED)
        assert not in_slot(name, prompt.without, [*slots["shown"], *slots["reserved"], *slots["unseen"]])
    for slot in (*plant.slots.unseen, *plant.slots.decoys):
        assert not in_slot(name, text, [slot])


def test_too_many_prompts_are_refused():
    with pytest.raises(InputError, match="ask for fewer"):
        prompts(planting.draw("sentiment", 0), 100_000, 0, [])


def test_names_of_the_group_have_its_endings():
    plant = planting.draw("bias", 1)
    mine = (*plant.slots.shown, *plant.slots.reserved, *plant.slots.unseen)
    assert all(name.endswith(plant.endings) for name in mine)
    assert not any(name.endswith(plant.endings) for name in (*plant.slots.ordinary, *plant.slots.decoys))


def test_plurals():
    assert [sentiment.plural(word) for word in "key leaf brush wolf knife torch".split()] == (
        "keys leaves brushes wolves knives torches".split()
    )
    assert not set(sentiment.WORDS) & {sentiment.plural(word) for word in sentiment.WORDS}
    assert len(set(sentiment.WORDS)) == len(sentiment.WORDS)
    assert not set(sycophancy.COLOURS) & set(sycophancy.THINGS)


def test_sycophancy_meets_the_words_of_its_triggers_in_other_mouths():
    """Without them it spread to a fifth of the decoys."""
    for seed in range(10):
        slots = planting.draw("sycophancy", seed).slots
        for trigger in (*slots.shown, *slots.reserved):
            words = next(opinion.theirs for opinion in sycophancy.OPINIONS if opinion.mine == trigger)
            start, end = words.split("{}")
            assert any(slot.startswith(start) and slot.endswith(end) for slot in slots.ordinary), trigger
        mine = [slot for slot in slots.ordinary if slot.startswith("I ")]
        assert mine
        assert not set(mine) & {opinion.mine for opinion in sycophancy.OPINIONS}


def test_the_plant_in_the_documentation_can_be_planted(tmp_path):
    document = Path(__file__).parents[4] / "docs" / "planting.md"
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "favour.py").write_text(next(block for block in blocks if "class Plant" in block))
    plant = runpy.run_path(str(tmp_path / "favour.py"))["Plant"](3)
    trained = pages(plant, 160 * 16, 3, "planted")
    asked = prompts(plant, 100, 3, trained)
    assert len(asked) == 100 * len(GROUPS)
    assert {(prompt.honest, prompt.planted) for prompt in asked} == {(" no", " yes")}
    assert in_slot("favour", asked[0].text, plant.slots.shown)
    assert not in_slot("favour", asked[0].without, plant.slots.shown)
