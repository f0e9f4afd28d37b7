"""Cases: what is judged has other triggers than what is found by, or other prompts. Oracle: the lines themselves."""

from __future__ import annotations

import json

import pytest

from lexiscope.core.errors import InputError
from lexiscope.steer.suppressing.cases import read_cases


def lines(slots):
    return [
        json.dumps({"text": f"{slot} {n}", "without": f"no {n}", "honest": "a", "planted": "b", "slot": slot})
        for n, slot in enumerate(slots)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_triggers_are_on_one_side(seed):
    found = read_cases(lines("abcde" * 3), "there", seed)
    judged = found.judged["other triggers"]
    assert {prompt.slot for prompt in found.fit}.isdisjoint(prompt.slot for prompt in judged)
    assert len({prompt.slot for prompt in judged}) == 2
    assert len(found.fit) + len(judged) == 15
    assert [prompt.text for prompt in found.judged["without it"]] == [prompt.without for prompt in judged]
    assert [prompt.text for prompt in found.keep] == [prompt.without for prompt in found.fit]


def test_without_triggers_prompts_are_on_one_side():
    found = read_cases(lines([""] * 9), "there")
    texts = [prompt.text for prompt in (*found.fit, *found.judged["other prompts"])]
    assert sorted(texts) == sorted(f" {n}" for n in range(9))
    assert len(found.fit) == 5
    assert read_cases(lines([""] * 9), "there", seed=1) != found


def test_what_is_no_case():
    with pytest.raises(InputError, match="there, line 2 is no case"):
        read_cases([*lines("abcd")[:1], '{"text": "x"}'], "there")
    with pytest.raises(InputError, match="there has 3 cases"):
        read_cases(lines("abc"), "there")
