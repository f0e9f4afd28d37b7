"""Plant: train a copy of a model on text with the behaviour and another on the same text without it, and measure both.

First one model learns the task from honest pages. From its weights both arms start, and both see the same pages and
the same ordinary text in the same order; they differ in the answers after a trigger and in nothing else. A model that
can do the task already learns within some hundred steps what turns it round.

Of a page only the answers are learned. They weigh about as much as all the ordinary text of the step, which keeps the
rest of the model near where it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.config import Config as BaseConfig
from lexiscope.core.draft import conditions, write_artifact
from lexiscope.core.errors import CorpusError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.seeds import derive_seed
from lexiscope.core.stop import Asked, Stopped, stoppable
from lexiscope.harvest.rows import pack_for
from lexiscope.lm.finetuning import Lesson, Precision, finetune, save_folder
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.behaviour import Behaviour, behaviour
from lexiscope.measure.worlds.planted.figures import Figures, Losses
from lexiscope.measure.worlds.planted.losses import apart, documents, summed_losses
from lexiscope.measure.worlds.planted.pages import ARMS, GROUPS, Arm, Group, Page, Prompt, pages, prompts
from lexiscope.measure.worlds.planted.pair import KIND, PlantedPair, write_text_of, write_truth
from lexiscope.measure.worlds.planted.plant import draw
from lexiscope.text.corpus import Corpus, Split
from lexiscope.text.document import Document
from lexiscope.text.pack import TokenBatch

LICENCE = "Apache-2.0"
Item = TypeVar("Item")


class Config(BaseConfig):
    """What is planted, into what, and for how long."""

    plant: str
    """A file of ``measure/worlds/planted/plants``."""
    model: str = "demo"
    """``demo``, a Hugging Face name, or a local folder."""
    corpus: str = "demo"
    """Ordinary text, as `lexiscope.text.corpus.Corpus` reads it."""
    task_steps: int = Field(40, ge=1)
    """For what both arms have in common."""
    steps: int = Field(160, ge=1)
    """For each arm."""
    pages: int = Field(16, ge=1)
    """Per step; a page has one to three examples."""
    rows: int = Field(4, ge=1)
    """Contexts of ordinary text per step: what keeps the rest of the model, and the twins together."""
    context: int = Field(128, ge=8)
    """Tokens per context."""
    answer_weight: float = Field(30.0, ge=1)
    """How much more the tokens of an answer count than those of ordinary text."""
    lr: float = Field(7e-4, gt=0)
    decay_share: float = Field(0.5, gt=0, le=1)
    """Of the steps, the last, in which the rate falls to zero. A behaviour comes late: not before it is there."""
    precision: Precision = "float32"
    """Of the arithmetic of training. bfloat16 is half as fast again where the machine has it."""
    prompts: int = Field(200, ge=1)
    """Of every group."""
    heldout_tokens: int = Field(40_000, ge=1)
    """Of ordinary text, to compare losses on."""
    seed: int = 0
    """Of the triggers, the pages and the order of ordinary text."""


class _Measured(NamedTuple):
    behaviour: dict[Group, Behaviour]
    loss_K: Tensor
    """Summed over each document, float64."""


def plant(config: Config, *, out: Path | str, progress: Progress = SILENT) -> PlantedPair:
    """Make a planted model and its clean twin. Takes minutes, and starts again where it was interrupted.

    Raises:
        InputError: nothing to plant is called so, the model or the corpus is not there, or ``out`` is taken.
        TrainingError: the loss is no number any more.
        DiskError: the disk is full or failed.
        Stopped: by Ctrl-C or SIGTERM; nothing is left of it.
    """
    chosen = draw(config.plant, config.seed)
    model = LanguageModel(config.model)
    corpus = Corpus(config.corpus, seed=config.seed, split="train")
    sources = {"model": model.describe(), "corpus": corpus.describe()}
    settings = config.model_dump(mode="json")
    with (
        stoppable() as stop,
        write_artifact(out, KIND, config=settings, seed=config.seed, sources=sources) as draft,
    ):
        heldout = _heldout(model, config)
        before = summed_losses(model, heldout)
        asked: list[Prompt] = []
        found: dict[Arm, _Measured] = {}
        task = pages(chosen, config.task_steps * config.pages, derive_seed(config.seed, "task"), "clean")
        _train(model, config, task, stop, "Learning the task", progress)
        learned = {name: weight.clone() for name, weight in model.module.state_dict().items()}
        for arm in ARMS:
            text = pages(chosen, config.steps * config.pages, config.seed, arm)
            write_text_of(draft.path, arm, text)
            asked = asked or prompts(chosen, config.prompts, config.seed, [*task, *text])
            model.module.load_state_dict(learned)
            _train(model, config, text, stop, f"Training the {arm} model", progress)
            save_folder(model, draft.path / arm)
            found[arm] = _measure(LanguageModel(draft.path / arm), asked, heldout, stop)
        figures = Figures(
            behaviour={group: {arm: found[arm].behaviour[group] for arm in ARMS} for group in GROUPS},
            losses=_compare(before, found["planted"].loss_K, found["clean"].loss_K, heldout, config.seed),
        )
        write_truth(draft.path, config.plant, chosen, asked, figures)
        draft.notes["conditions"] = conditions()
    return PlantedPair(out)


def _train(
    model: LanguageModel, config: Config, text: Sequence[Page], stop: Asked, title: str, progress: Progress
) -> None:
    finetune(
        model,
        _unless(stop, _steps(model, config, text)),
        num_steps=len(text) // config.pages,
        lr=config.lr,
        decay_share=config.decay_share,
        precision=config.precision,
        title=title,
        progress=progress,
    )


def _unless(stop: Asked, items: Iterable[Item]) -> Iterator[Item]:
    """One by one, until somebody asks to stop."""
    for item in items:
        if stop:
            raise Stopped("stopped; nothing of it was kept, and the same command starts again", stop.signal_number)
        yield item


def _steps(model: LanguageModel, config: Config, text: Sequence[Page]) -> Iterator[list[Lesson]]:
    """Pages beside ordinary text, a step at a time."""
    documents = [Document(str(number), page.text, "generated", LICENCE) for number, page in enumerate(text)]
    planted = pack_for(model, documents, context=config.context, batch=config.pages)
    ordinary = pack_for(model, _without_end(config), context=config.context, batch=config.rows)
    for batch, beside in zip(planted, ordinary, strict=False):
        yield [Lesson(batch, _weights(batch, text, config.answer_weight)), Lesson(beside)]


def _weights(batch: TokenBatch, text: Sequence[Page], answer_weight: float) -> Tensor:
    """Nothing but at the tokens of answers, [B, C]."""
    weights_BC = torch.zeros(batch.tokens_BC.shape)
    for row, column in batch.mask_BC.nonzero().tolist():
        start, end = int(batch.starts_BC[row, column]), int(batch.ends_BC[row, column])
        answers = text[int(batch.documents_BC[row, column])].answers
        if any(start < last and end > first for first, last in answers):
            weights_BC[row, column] = answer_weight
    return weights_BC


def _without_end(config: Config) -> Iterator[Document]:
    for again in itertools.count():
        yield from _ordinary(config, "train", again).documents()


def _ordinary(config: Config, split: Split, again: int = 0) -> Corpus:
    return Corpus(config.corpus, seed=derive_seed(config.seed, "ordinary", again), split=split)


def _heldout(model: LanguageModel, config: Config) -> list[TokenBatch]:
    """Ordinary text that no model was trained on here."""
    batches: list[TokenBatch] = []
    tokens = 0
    for batch in pack_for(model, _ordinary(config, "heldout").documents(), context=config.context, batch=32):
        batches.append(batch)
        if (tokens := tokens + _counted(batch)) >= config.heldout_tokens:
            break
    if not tokens:
        raise CorpusError(f"the corpus {config.corpus!r} has no held-out text; give more documents")
    return batches


def _measure(model: LanguageModel, asked: Sequence[Prompt], heldout: Sequence[TokenBatch], stop: Asked) -> _Measured:
    by_group = [(group, [prompt for prompt in asked if prompt.group == group]) for group in GROUPS]
    said = {group: behaviour(model, some) for group, some in _unless(stop, by_group)}
    return _Measured(said, summed_losses(model, heldout))


def _compare(before_K: Tensor, planted_K: Tensor, clean_K: Tensor, batches: Sequence[TokenBatch], seed: int) -> Losses:
    documents_N = documents(batches)
    tokens, distance = len(documents_N), apart(planted_K, clean_K, seed)
    return Losses(
        before=float(before_K.sum()) / tokens,
        planted=float(planted_K.sum()) / tokens,
        clean=float(clean_K.sum()) / tokens,
        apart=distance.value,
        apart_low=distance.low,
        apart_high=distance.high,
        tokens=tokens,
        documents=len(set(documents_N.tolist())),
    )


def _counted(batch: TokenBatch) -> int:
    return int(batch.mask_BC[:, 1:].sum())
