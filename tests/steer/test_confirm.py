"""Confirmation by patching.

Known truth: a random model, and a dictionary made for it: one feature tells the two prompts of a pair apart and writes
what moves the answer, one tells them apart and writes almost nothing, one never fires. Oracle: every pair patched by
itself, densely, token by token.
"""

from __future__ import annotations

import copy

import pytest
import torch
from tests.measure.conftest import HOOK, model  # noqa: F401

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes.base import Batch
from lexiscope.steer.confirming.confirm import confirm
from lexiscope.steer.confirming.pairs import Pair, read_pairs

WRITES, MUTE, SILENT = 0, 1, 2
BEGINNINGS = [
    "Anna met",
    "The old man saw",
    "When Paul and",
    "She wrote to",
    "We all know",
    "On Monday",
    "Ask",
    "Then",
    "My",
]


def ids(model, text):  # noqa: F811
    lead = [model.tokenizer.bos_id] if model.bos == "context" else []
    return torch.tensor([[*lead, *model.tokenizer.encode(text).ids]])


def last(model, text):  # noqa: F811
    """Activation at the last token."""
    return model.read(ids(model, text), [HookPoint.parse(HOOK)])[HookPoint.parse(HOOK)][0, -1]


@pytest.fixture(scope="module")
def pairs(model):  # noqa: F811
    """Prompts that end in one of two letters; the answers are those that the model tells apart best."""
    prompts = [(f"{text} x", f"{text} q") for text in BEGINNINGS]
    gaps_V = torch.stack([model.logits(ids(model, one))[0, -1] - model.logits(ids(model, other))[0, -1]
                          for one, other in prompts]).mean(0)  # fmt: skip
    letters = {token: chr(97 + at) for at in range(26) for token in model.tokenizer.encode(chr(97 + at)).ids}
    order = sorted(letters, key=lambda token: float(gaps_V[token]))
    answer, other_answer = letters[order[-1]], letters[order[0]]
    return [Pair(prompt=one, answer=answer, other_prompt=other, other_answer=other_answer) for one, other in prompts]


@pytest.fixture(scope="module")
def sae(model, pairs):  # noqa: F811
    made = saes.create(saes.relu_l1.Config(num_latents=6), Batch.same(torch.randn(64, 24)))
    here, there = (torch.stack([last(model, text) for text in texts]) for texts in (
        [pair.prompt for pair in pairs], [pair.other_prompt for pair in pairs]))  # fmt: skip
    apart_D = here.mean(0) - there.mean(0)
    with torch.no_grad():
        made.b_dec_D.zero_()
        made.W_enc_FD.zero_()
        made.b_enc_F.fill_(-1.0)
        for feature in (WRITES, MUTE):
            made.W_enc_FD[feature] = apart_D / apart_D.square().sum()
            made.b_enc_F[feature] = -float((there.mean(0) @ apart_D) / apart_D.square().sum())
        made.W_dec_FD[WRITES] = apart_D
        made.W_dec_FD[MUTE] *= 1e-4
    made.hook = HookPoint.parse(HOOK)
    return made


def difference(model, pair, text, shift_CD=None):  # noqa: F811
    answer, other = (model.tokenizer.encode(said).ids[0] for said in (pair.answer, pair.other_answer))
    with model.splice({} if shift_CD is None else {HookPoint.parse(HOOK): lambda x_BCD: x_BCD + shift_CD}):
        logits_V = model.logits(ids(model, text))[0, -1].double()
    return float(logits_V[answer] - logits_V[other])


def codes(model, sae, text, feature):  # noqa: F811
    """Of one feature on every token but BOS, where it counts as silent."""
    x_CD = model.read(ids(model, text), [sae.hook])[sae.hook][0]
    f_C = torch.relu((x_CD - sae.b_dec_D) @ sae.W_enc_FD[feature] + sae.b_enc_F[feature])
    f_C[: ids(model, text).shape[1] - len(model.tokenizer.encode(text).ids)] = 0
    return f_C.detach()


@torch.no_grad()
def test_each_pair_patched_by_itself(model, sae, pairs):  # noqa: F811
    found = confirm(model, sae, WRITES, pairs)
    assert found.by_position
    put_in, taken_out, gaps = [], [], []
    for pair in pairs:
        change_C = codes(model, sae, pair.prompt, WRITES) - codes(model, sae, pair.other_prompt, WRITES)
        shift_CD = change_C[:, None] * sae.W_dec_FD[WRITES]
        clean, other = difference(model, pair, pair.prompt), difference(model, pair, pair.other_prompt)
        put_in.append(difference(model, pair, pair.other_prompt, shift_CD) - other)
        taken_out.append(clean - difference(model, pair, pair.prompt, -shift_CD))
        gaps.append(clean - other)
    assert found.put_in.feature.logits == pytest.approx(sum(put_in) / len(pairs), rel=1e-3)
    assert found.taken_out.feature.logits == pytest.approx(sum(taken_out) / len(pairs), rel=1e-3)
    assert found.put_in.feature.share == pytest.approx(sum(put_in) / sum(gaps), rel=1e-3)
    assert found.put_in.feature.logits_low < found.put_in.feature.logits < found.put_in.feature.logits_high


def test_a_feature_that_writes_the_answer_causes_it(model, sae, pairs):  # noqa: F811
    found = confirm(model, sae, WRITES, pairs, hypothesis="ends in x")
    assert (found.verdict, found.hypothesis, found.differ) == ("cause", "ends in x", len(pairs))
    assert found == confirm(model, sae, WRITES, pairs, hypothesis="ends in x")


@pytest.mark.parametrize("feature", [MUTE, SILENT])
def test_one_that_writes_nothing_does_not(model, sae, pairs, feature):  # noqa: F811
    assert confirm(model, sae, feature, pairs).verdict == "no cause"


def writing(sae, vector_D):
    """The same dictionary, one feature of which writes something else."""
    made = copy.deepcopy(sae)
    with torch.no_grad():
        made.W_dec_FD[WRITES] = vector_D
    return made


def test_any_direction_as_long_is_no_cause(model, sae, pairs):  # noqa: F811
    """Known truth: 40 directions drawn at random, of which half move the answer the right way, and surely."""
    random, length = torch.Generator().manual_seed(0), 4 * sae.W_dec_FD[WRITES].norm()
    found = [
        confirm(model, writing(sae, length * torch.nn.functional.normalize(drawn_D, dim=0)), WRITES, pairs)
        for drawn_D in torch.randn(40, 24, generator=random)
    ]
    assert sum(one.put_in.feature.share_low > 0 and one.taken_out.feature.share_low > 0 for one in found) > 8
    assert sum(one.verdict == "cause" for one in found) <= 2


def test_an_effect_that_may_be_next_to_nothing_is_no_cause(model, sae, pairs):  # noqa: F811
    """Surely above 0, but not surely above a twentieth of the way."""
    share = confirm(model, sae, WRITES, pairs).put_in.feature.share
    found = confirm(model, writing(sae, 0.06 / share * sae.W_dec_FD[WRITES].detach()), WRITES, pairs)
    assert 0 < found.put_in.feature.share_low < 0.05 < found.put_in.feature.share_high
    assert found.verdict == "undecided"
    assert "not surely by a twentieth of the way" in found.said


def test_a_feature_that_moves_the_answer_the_other_way_does_not_cause_it(model, sae, pairs):  # noqa: F811
    found = confirm(model, writing(sae, -sae.W_dec_FD[WRITES].detach()), WRITES, pairs)
    assert found.put_in.feature.share_high < 0
    assert (found.verdict, "the other way" in found.said) == ("no cause", True)


def test_of_other_lengths_only_the_last_token_is_patched(model, sae, pairs):  # noqa: F811
    longer = [pair.model_copy(update={"other_prompt": f"So {pair.other_prompt}"}) for pair in pairs]
    found = confirm(model, sae, WRITES, longer)
    assert not found.by_position
    moved = []
    for pair in longer:
        there_C = codes(model, sae, pair.other_prompt, WRITES)
        shift_CD = torch.zeros(len(there_C), 24)
        shift_CD[-1] = (codes(model, sae, pair.prompt, WRITES)[-1] - there_C[-1]) * sae.W_dec_FD[WRITES].detach()
        clean = difference(model, pair, pair.other_prompt)
        moved.append(difference(model, pair, pair.other_prompt, shift_CD) - clean)
    assert found.put_in.feature.logits == pytest.approx(sum(moved) / len(moved), rel=1e-3)


def test_bad_input(model, sae, pairs):  # noqa: F811
    with pytest.raises(InputError, match="there is no feature 6; this dictionary has features 0 to 5"):
        confirm(model, sae, 6, pairs)
    with pytest.raises(InputError, match="there are 7 pairs; give at least 8"):
        confirm(model, sae, 0, pairs[:7])
    with pytest.raises(InputError, match="the feature was chosen on 'Anna met q'; confirm it on other pairs"):
        confirm(model, sae, 0, pairs, chosen_on=pairs[:1])
    with pytest.raises(InputError, match="begin with the same token"):
        confirm(model, sae, 0, [pair.model_copy(update={"answer": pair.other_answer}) for pair in pairs])
    with pytest.raises(InputError, match="is there twice, which would make the interval too narrow"):
        confirm(model, sae, 0, [*pairs, pairs[0]])
    swapped = pairs[0].model_copy(update={"prompt": pairs[0].other_prompt, "other_prompt": pairs[0].prompt})
    with pytest.raises(InputError, match="the feature was chosen on 'Anna met q'"):
        confirm(model, sae, 0, pairs, chosen_on=[swapped])
    either = [pair.model_copy(update={"answer": pair.other_answer, "other_answer": pair.answer}) if place % 2 else pair
              for place, pair in enumerate(pairs)]  # fmt: skip
    with pytest.raises(InputError, match="does not surely prefer the answer after the prompts"):
        confirm(model, sae, 0, either)
    turned = [pair.model_copy(update={"answer": pair.other_answer, "other_answer": pair.answer}) for pair in pairs]
    with pytest.raises(InputError, match="nothing that a feature could explain"):
        confirm(model, sae, 0, turned)


def test_pairs_from_lines(pairs):
    lines = [pair.model_dump_json() for pair in pairs]
    assert read_pairs([*lines, "", " "], "pairs.jsonl") == pairs
    with pytest.raises(InputError, match=r"pairs\.jsonl, line 2 is no pair; write JSON with prompt, answer"):
        read_pairs([lines[0], '{"prompt": "x"}'], "pairs.jsonl")


def test_pairs_may_be_read_in_parts(model, sae, pairs, monkeypatch):  # noqa: F811
    """Oracle: all of them at once."""
    whole = confirm(model, sae, WRITES, pairs)
    monkeypatch.setattr("lexiscope.steer.confirming.patching._AT_ONCE", 40)
    parts = confirm(model, sae, WRITES, pairs)
    assert parts.put_in.feature.logits == pytest.approx(whole.put_in.feature.logits, rel=1e-4)
    assert parts.taken_out.direction.share_low == pytest.approx(whole.taken_out.direction.share_low, rel=1e-3, abs=1e-6)
    assert (parts.clean, parts.differ) == (pytest.approx(whole.clean, rel=1e-4), whole.differ)
