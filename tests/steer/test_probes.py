"""Probes against the demo model, which can do both tasks, and a vector that undoes one of them."""

from __future__ import annotations

import pytest

from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.effects.probes import standard_probes


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


def test_the_demo_model_knows_the_answers_and_can_be_turned(demo):
    """Oracle: an added difference of unembeddings, wrong less right, makes an answer wrong by construction."""
    hook = HookPoint("resid_post", demo.num_layers - 1)
    probes = standard_probes(demo, questions=24)
    assert [probe.task for probe in probes] == ["subject-verb agreement", "indirect object"]
    for probe in probes:
        assert len(probe.right_B) == 24
        assert (probe.right_B != probe.wrong_B).all()
        assert probe.score(demo).accuracy.share > 0.7
    rows_VD = demo.module.get_output_embeddings().weight
    agreement = probes[0]
    for right, wrong in {*zip(agreement.right_B.tolist(), agreement.wrong_B.tolist(), strict=True)}:
        against_D = 1e4 * (rows_VD[wrong] - rows_VD[right]).float()
        chosen = (agreement.right_B == right) & (agreement.wrong_B == wrong)
        turned = agreement._replace(
            prompts=agreement.prompts._replace(
                contexts=agreement.prompts.contexts.rows(chosen.nonzero()[:, 0].tolist()),
                measured_BC=agreement.prompts.measured_BC[chosen],
            ),
            right_B=agreement.right_B[chosen],
            wrong_B=agreement.wrong_B[chosen],
        )
        assert turned.score(demo, hook, against_D).accuracy.count == 0


def test_tasks_that_a_tokenizer_cannot_put_are_left_out(small):
    assert standard_probes(small) == []
