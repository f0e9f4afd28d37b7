"""Controls against the intervention that they stand beside, and against lengths and means worked out by hand."""

from __future__ import annotations

import pytest
import torch
from tests.steer.conftest import HOOK, dictionary

from lexiscope.core.errors import InputError
from lexiscope.steer.editing import editing
from lexiscope.steer.effects.controls import adding, difference_in_means, noise, random_features, with_prefix
from lexiscope.steer.effects.fluency import write
from lexiscope.steer.effects.goals import Prompts
from lexiscope.steer.interventions import Add


def test_adding_a_direction_is_the_intervention_add(small, tokens_BC):
    """Oracle: `editing`. Beside text of one length, a padded context and BOS, which neither of them touches."""
    sae = dictionary(small)
    direction_D = sae.directions_FD[5].detach()
    tokens_BC[:, 0] = small.tokenizer.bos_id
    tokens_BC[1, 6:] = small.tokenizer.pad_id
    attention_BC = tokens_BC != small.tokenizer.pad_id
    clean = small.logits(tokens_BC, attention_BC)
    with adding(small, HOOK, 3.0 * direction_D):
        ours = small.logits(tokens_BC, attention_BC)
    with editing(small, sae, Add(features=5, by=3.0)):
        theirs = small.logits(tokens_BC, attention_BC)
    torch.testing.assert_close(ours[attention_BC], theirs[attention_BC])
    assert not torch.equal(ours, clean)


def test_in_generation_new_tokens_are_steered_too(small):
    sae = dictionary(small)
    prompts = Prompts.of(small, [[5, 9, 12], [30, 4, 4], [7, 8]])
    ours = write(small, HOOK, prompts, 6.0 * sae.directions_FD[5].detach(), new_tokens=6, seed=3)
    for row, text in enumerate(prompts.contexts.tokens_BC[:2, :4].split(1)):
        assert ours.prompts[row] == text[0, 1:].tolist()
    with editing(small, sae, Add(features=5, by=6.0)):
        theirs = small.generate_tokens(prompts.contexts.tokens_BC[:2], max_new_tokens=6, temperature=1.0, seed=3)
    ended = [[token for token in new if token not in small.tokenizer.special_ids] for new in theirs.tolist()]
    assert [new[: len(text)] for new, text in zip(ours.new[:2], ended, strict=True)] == ended[:2]


def test_every_prompt_gets_its_own_vector_of_the_length_asked_for():
    drawn_BD = noise(200, 16, 2.5, seed=1)
    assert drawn_BD.norm(dim=1).tolist() == pytest.approx([2.5] * 200, rel=1e-5)
    assert len({tuple(row) for row in drawn_BD.tolist()}) == 200
    assert drawn_BD.mean(0).abs().max() < 0.2
    directions_FD = torch.diag(torch.arange(1.0, 7.0))
    features_BD = random_features(directions_FD, [1, 4], 60, 3.0, seed=1)
    assert set(features_BD.argmax(1).tolist()) == {1, 4}
    assert features_BD.norm(dim=1).tolist() == pytest.approx([3.0] * 60)


def test_difference_in_means_is_one_direction_of_length_one():
    x_ND = torch.tensor([[3.0, 0.0], [5.0, 2.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found_D = difference_in_means(x_ND, torch.tensor([True, True, False, False, False]))
    torch.testing.assert_close(found_D, torch.tensor([1.0, 0.0]))
    with pytest.raises(InputError, match="wanted and unwanted"):
        difference_in_means(x_ND, torch.ones(5, dtype=torch.bool))
    with pytest.raises(InputError, match="the same mean"):
        difference_in_means(torch.ones(4, 2), torch.tensor([True, False, True, False]))


def test_a_prefix_stands_behind_bos_and_what_is_measured_stays(small):
    for where in ("end", "text"):
        prompts = Prompts.of(small, [[5, 9, 12], [30, 4]], where=where)
        longer = with_prefix(small, prompts, [7, 8])
        assert longer.contexts.tokens_BC.tolist() == [[1, 7, 8, 5, 9, 12], [1, 7, 8, 30, 4, 0]]
        for row in range(2):
            before = prompts.contexts.tokens_BC[row][prompts.measured_BC[row]].tolist()
            assert longer.contexts.tokens_BC[row][longer.measured_BC[row]].tolist() == before
