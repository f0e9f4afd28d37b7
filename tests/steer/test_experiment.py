"""Experiments in a world of one matrix, on files of letters: the sides share nothing, and what writes is found."""

from __future__ import annotations

import json
import random

import pytest
import torch
from tests.steer.conftest import dictionary
from tests.steer.linear_world import HOOK, VOCABULARY, WIDTH, LinearDictionary, LinearModel

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.contexts import Contexts
from lexiscope.steer.experiments.aims import LEAST_EXAMPLES, concept_named, prefix_of, split_examples, token_set
from lexiscope.steer.experiments.excerpts import SIDES, Source, read, windows
from lexiscope.steer.experiments.experiment import Experiment, Sizes

WRITES = 1
SIZES = Sizes(tokens=(3000, 3000), prompts=(12, 12), off_target=10, read_tokens=1500, off_target_tokens=16)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Eighty files of letters, three tenths of them held out."""
    folder = tmp_path_factory.mktemp("letters")
    rng = random.Random(0)
    for number in range(80):
        (folder / f"{number}.txt").write_text("".join(rng.choices("abcdefghijk", k=100)))
    return Source(str(folder), heldout_share=0.3)


@pytest.fixture(scope="module")
def model():
    """Coordinate 1 raises the logit of token 3, which is written c; coordinates 3 and above write noise."""
    U_DV = torch.zeros(WIDTH, VOCABULARY)
    U_DV[WRITES, 3] = 1.0
    U_DV[3:] = torch.randn(WIDTH - 3, VOCABULARY, generator=torch.Generator().manual_seed(3))
    return LinearModel(U_DV)


@pytest.fixture(scope="module")
def experiment(model, source):
    made = Experiment(model, LinearDictionary(torch.eye(WIDTH)), source, SIZES)
    made.probes = []  # their sentences have other letters
    return made


@pytest.mark.parametrize("seed", [0, 1])
def test_the_two_sides_share_no_document(model, source, seed):
    sides = [{each.document.id for each in read(model, source, side, 10**6, seed)} for side in SIDES]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 80
    assert 10 < len(sides[1]) < 40


def test_another_seed_is_another_split_in_another_order(model, source):
    orders = [[each.document.id for each in read(model, source, "heldout", 10**6, seed)] for seed in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert set(orders[0]) != set(orders[2]) != set(orders[3])
    assert set(orders[0]) - set(orders[2])


def test_seed_0_holds_out_what_training_did(model, source):
    from lexiscope.text.document import is_heldout

    for each in read(model, source, "heldout", 10**6):
        assert is_heldout(each.document.id, source.heldout_share)


def test_stretches_are_one_from_each_document(model, source):
    excerpts = read(model, source, "train", 3000)
    found = windows(excerpts, 12, 24, None, 0, "prompts")
    assert len(found.texts) == len(set(found.documents)) == 12
    by_id = {each.document.id: each.document.text for each in excerpts}
    for text, document in zip(found.texts, found.documents, strict=True):
        assert model.tokenizer.decode(text) in by_id[document]
    assert windows(excerpts, 12, 24, None, 0, "prompts") == found
    assert windows(excerpts, 12, 24, None, 1, "prompts") != found
    assert windows(excerpts, 12, 24, {"code"}, 0, "prompts").texts == []


def test_the_feature_that_writes_a_token_is_found_and_its_dose_judged_on_other_documents(experiment, model):
    """Known truth: only coordinate 1 raises the letter c, by one nat per unit."""
    aim = experiment.towards_tokens(token_set(model.tokenizer, ["c"]))
    assert not set(aim.selection.prompts.documents) & set(aim.heldout.prompts.documents)
    assert experiment.select(aim, shortlist=3, random=2).chosen == WRITES
    found = experiment.dose_response(aim, WRITES)
    unit = experiment.unit(WRITES)
    assert unit == pytest.approx(float(experiment.seen.codes.dense()[:, WRITES].max()))
    for dose in found.curve:
        assert dose.effect.mean == pytest.approx(dose.strength * unit, abs=1e-3)
    assert {control.control for control in found.curve[0].controls} >= {"noise", "wrong sign", "random feature"}
    assert found.recommended is not None


def test_strengths_lie_around_the_small_dose(experiment):
    strengths = experiment.strengths(WRITES)
    at = experiment.small_norm / experiment.unit(WRITES)
    assert min(strengths) < 0 < max(strengths)
    assert any(abs(strength / at - 1) < 0.06 for strength in strengths)


def test_examples_are_split_and_compared(experiment):
    """Known truth: texts full of c are likelier with more of coordinate 1."""
    wanted = ["".join(pair) for pair in zip("abdefghi" * 2, "c" * 16, strict=True)][:8]
    unwanted = [text.replace("c", "j") for text in wanted]
    aim = experiment.towards_examples("c over j", wanted, unwanted)
    assert not set(aim.selection.prompts.documents) & set(aim.heldout.prompts.documents)
    assert len(aim.selection.prompts.documents) == len(aim.heldout.prompts.documents) == 8
    assert experiment.select(aim, shortlist=2, random=1).chosen == WRITES


def test_an_index_says_what_the_maximum_is(model, source):
    class Index:
        def live(self):
            return [0, WRITES]

        def summaries(self, features):
            return {feature: type("Row", (), {"max_activation": 7.0 if feature < 2 else 0.0}) for feature in features}

    made = Experiment(model, LinearDictionary(torch.eye(WIDTH)), source, SIZES, index=Index())
    assert made.unit(WRITES) == 7.0
    assert made.live == [0, WRITES]
    with pytest.raises(InputError, match="feature 5 never fires"):
        made.unit(5)
    with pytest.raises(InputError, match="there is no feature 8; this dictionary has features 0 to 7"):
        made.unit(8)


def test_what_does_not_occur_has_no_rival(experiment, model):
    aim = experiment.towards_tokens(token_set(model.tokenizer, ["."]))
    assert aim.difference_D is None
    assert aim.prefix == [0] * SIZES.prefix_tokens  # the token itself, since no text shows it
    assert {control.control for control in experiment.dose_response(aim, WRITES, [0.5]).curve[0].controls} == {
        "noise",
        "wrong sign",
        "random feature",
        "prompt only",
    }


def test_one_prompt_is_refused(model, source):
    sizes = SIZES.model_copy(update={"prompt_tokens": 101})
    made = Experiment(model, LinearDictionary(torch.eye(WIDTH)), source, sizes)
    with pytest.raises(InputError, match="name a corpus of more documents"):
        made.towards_tokens(token_set(model.tokenizer, ["c"]))


@pytest.mark.parametrize("given", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(experiment, model, given):
    aim = experiment.towards_tokens(token_set(model.tokenizer, ["c"]))
    with pytest.raises(InputError, match=f"strength {given} is no number"):
        experiment.dose_response(aim, WRITES, [0.5, given])


def test_the_prefix_is_the_stretch_with_most_of_what_is_wanted(model, tmp_path):
    for name, text in {"0": "ababababab", "1": "accccababa", "2": "cbcbcbcbcb"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    excerpts = list(read(model, Source(str(tmp_path), heldout_share=0.0), "train", 10**6))
    wanted = [torch.tensor(each.ids).numpy() == 3 for each in excerpts]
    assert model.tokenizer.decode(prefix_of(excerpts, wanted, 4)) == "cccc"
    assert prefix_of(excerpts, [each & False for each in wanted], 4) == []


def test_halves_of_examples_have_every_text_once():
    texts = [f"text {number}" for number in range(9)]
    chosen, judged = split_examples([*texts, *texts], 0)
    assert sorted([*chosen, *judged]) == texts
    assert (len(chosen), len(judged)) == (4, 5)
    assert split_examples(texts, 1) != (chosen, judged)


def test_pairs_stay_pairs(experiment, model):
    """The n-th wanted text stays beside the n-th unwanted one, and no pair is torn apart by the split."""
    wanted = [f"{letter}c" for letter in "abdefghi"]
    unwanted = [f"{letter}j" for letter in "abdefghi"]
    aim = experiment.towards_examples("c over j", wanted, unwanted)
    for material in (aim.selection, aim.heldout):
        texts = material.prompts.documents
        assert [text[0] for text in texts[0::2]] == [text[0] for text in texts[1::2]]
    for chosen, judged in [split_examples(wanted, seed) for seed in range(4)]:
        assert {text[0] for text in chosen}.isdisjoint(text[0] for text in judged)


def test_goals_that_are_none(model, experiment):
    with pytest.raises(InputError, match=r"'cd' is not one token of this model but 2 \('c' \+ 'd'\)"):
        token_set(model.tokenizer, ["c", "cd"])
    with pytest.raises(InputError, match="'' is not one token"):
        token_set(model.tokenizer, [""])
    with pytest.raises(InputError, match="called 'persnal pronoun'; there are personal pronoun"):
        concept_named("persnal pronoun")
    with pytest.raises(InputError, match="month"):
        concept_named("Month ")
    with pytest.raises(InputError, match="no concept of the bank is called 'qqqqqq'"):
        concept_named("qqqqqq")
    few = [f"{letter}c" for letter in "abcd"][: LEAST_EXAMPLES - 1]
    with pytest.raises(InputError, match="3 different wanted texts"):
        experiment.towards_examples("few", [*few, *few], few)
    with pytest.raises(InputError, match="'ac' is both wanted and unwanted"):
        experiment.towards_examples("both", ["ac", "bc", "dc", "ec"], ["ac", "bd", "dd", "ed"])


def test_a_dictionary_that_writes_elsewhere_is_steered_there(small, tmp_path):
    """Oracle: the activations at the place that is written, read again."""
    rng = random.Random(1)
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(" ".join(rng.choices("abcdefghijk", k=30)))
    source = Source(str(tmp_path), heldout_share=0.3)
    sae = dictionary(small)
    sae.writes = (HookPoint("mlp_out", 2),)
    sizes = Sizes(prompts=(6, 6), prompt_tokens=6, prefix_tokens=4, off_target=6, off_target_tokens=8)
    made = Experiment(small, sae, source, sizes)
    assert made.hook == HookPoint("mlp_out", 2)
    ids = made.excerpts[0][0].ids[: small.max_context - 1]
    contexts = Contexts.of(small, [ids])
    written_TD = small.read(contexts.tokens_BC, [made.hook], contexts.attention_BC)[made.hook][contexts.text_BC]
    torch.testing.assert_close(made.seen.x_TD[: len(ids)], written_TD)
    aim = made.towards_tokens(token_set(small.tokenizer, ["c"]))
    assert made.dose_response(aim, made.live[0], [0.5]).curve[0].norm > 0


def test_the_hook_point_is_the_dictionary_s(experiment):
    assert experiment.hook == HOOK
    assert json.loads(SIZES.model_dump_json())["prompts"] == [12, 12]
