"""Mined prompts. Oracles: the text that they were cut from, the model asked again by itself, and continuations written
out by `LanguageModel.generate`."""

from __future__ import annotations

import math
import re

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.harvest.rows import pack_for
from lexiscope.lm.finetuning import cross_entropy
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import behaviour
from lexiscope.steer.suppressing.mined import EARLIER, LENGTH, Unwanted, apart_from, goes_on, mine, share_with
from lexiscope.text.document import Document

LINK = Unwanted(re.compile(r"https?://\S+"), frozenset({"htt", "http", "https"}))
FORMS = {"markdown": re.compile(r"\]\($"), "see": re.compile(r"See$")}
INTRODUCTION = (
    "This module holds the classes that read and write the files of a project, one after the other, whatever their "
    "encoding is. It was written for small files and keeps all of a file in memory, so that large ones take a while. "
    "Nothing is written before the end. "
)


def page(number, text):
    return Document(f"page:{number}", text, "docs", "Apache-2.0")


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


@pytest.fixture(scope="module")
def pages():
    ends = ["more details, see our [cache guide]", "the other files see the [user guide of the project]"]
    links = [page(number, f"{INTRODUCTION}For {end}(https://a.org/b) and others.") for number, end in enumerate(ends)]
    return [*links, page(2, f"{INTRODUCTION}The file holds https://a.org and no more.")]


@pytest.fixture(scope="module")
def prompts(demo, pages):
    return list(mine(demo, pages, LINK, FORMS))


def test_a_prompt_is_the_text_before_what_is_unwanted(demo, pages, prompts):
    assert [prompt.document for prompt in prompts] == ["page:0", "page:1"]  # the third ends in no form
    for prompt, document in zip(prompts, pages, strict=False):
        before = document.text[: document.text.index("https")]
        assert before.endswith(prompt.text)
        assert prompt.form == "markdown"
        last, earlier = (demo.tokenizer.encode(text).ids for text in (prompt.text, prompt.without))
        assert len(last) == len(earlier) == LENGTH
        assert last[:-EARLIER] == earlier[EARLIER:]


def test_the_model_says_it_there_and_other_things_earlier(demo, prompts):
    assert behaviour(demo, prompts).planted.share == 1
    assert behaviour(demo, [prompt.kept for prompt in prompts]).honest.share == 1
    for prompt in prompts:
        tokens = [demo.tokenizer.bos_id, *demo.tokenizer.encode(prompt.text).ids]
        best = demo.logits(torch.tensor([tokens]))[0, -1].argsort(descending=True).tolist()
        others = (text for token in best if (text := demo.tokenizer.decode([token])).strip() not in LINK.openings)
        assert prompt.honest == next(others)


def test_no_prompt_holds_an_earlier_match_or_ends_like_another(demo, pages):
    twice = page(0, f"{INTRODUCTION * 2}See [it](https://c.org/ddd) and {pages[0].text}")
    found = list(mine(demo, [twice, pages[0]], LINK, FORMS))
    assert found
    assert not any(LINK.pattern.search(prompt.text) for prompt in found)
    assert len({prompt.text[-20:] for prompt in found}) == len(found)


def test_no_document_gives_more_than_so_many_of_a_form(demo, pages):
    longer = page(0, " ".join(document.text for document in pages))
    assert [len(list(mine(demo, [longer], LINK, FORMS, per_document=most))) for most in (1, 2)] == [1, 2]


def test_what_is_written_is_what_generate_writes(demo, prompts):
    written = goes_on(demo, prompts, new_tokens=8)
    whole = [demo.generate(prompt.text, max_new_tokens=8) for prompt in prompts]
    assert [prompt.text + text for prompt, text in zip(prompts, written, strict=True)] == whole
    assert share_with(written, LINK).share == 1
    drawn = [goes_on(demo, prompts, new_tokens=8, temperature=1.0, seed=seed) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_shares_count_texts_with_a_match():
    found = share_with(["see https://a", "see http", "nothing"], LINK)
    assert (found.count, found.of) == (1, 3)


def test_what_is_unwanted_is_read_and_does_not_count(demo, pages):
    (batch,) = pack_for(demo, pages, context=128, batch=4)
    (rest,) = apart_from([batch], LINK)
    left_out_BC = batch.mask_BC & ~rest.mask_BC
    texts = [demo.tokenizer.decode(row[out].tolist()) for row, out in zip(batch.tokens_BC, left_out_BC, strict=True)]
    assert sorted(text.strip() for text in texts) == ["https://a.org", "https://a.org/b)", "https://a.org/b)"]
    every, counted_N = cross_entropy(demo, batch), rest.mask_BC[:, 1:][batch.mask_BC[:, 1:]]
    assert torch.equal(cross_entropy(demo, rest), every[counted_N])
    assert math.isfinite(float(every.sum()))


def test_bad_input(demo, pages):
    nothing = Unwanted(LINK.pattern, frozenset({"gopher://"}))
    with pytest.raises(InputError, match="gopher"):
        list(mine(demo, pages, nothing, FORMS))
