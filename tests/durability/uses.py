"""All that is read of an artifact or a model in use, in little: what a stranger's has to bear."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from lexiscope import saes
from lexiscope.core.artifact import open_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.verify import verify
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.concordance.collect import joined
from lexiscope.index.concordance.firings import merged
from lexiscope.index.config import IndexConfig
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.parts import read_part
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.heldout import text_of
from lexiscope.measure.scorecard import Scorecard
from lexiscope.measure.worlds.planted.pages import ARMS, GROUPS
from lexiscope.measure.worlds.planted.pair import PlantedPair
from lexiscope.steer.edit import Edit
from lexiscope.steer.spending.record import read_record
from lexiscope.text.corpus import Corpus
from lexiscope.web.folder.scores import matched_concepts, score_table


def use_store(folder: Path) -> None:
    store = ActivationStore.open(folder)
    for hook in store.hooks:
        for split in ("train", "heldout"):
            next(store.batches(hook, batch_tokens=50, seed=0, split=split, epochs=1))
        store.rows(hook, [0, store.num_tokens - 1])
        store.statistics(hook).summary()
        next(store.chunks(hook))
    store.window(3, 5, 5)
    for column in (store.tokens_T, store.positions_T, store.starts_T, store.ends_T):
        column.sum()
    text_of(store)


def use_sae(folder: Path) -> None:
    sae = saes.load(folder)
    x_TD = torch.ones(3, sae.width)
    sae.reconstruct(x_TD, sae.encode(x_TD))
    assert sae.directions_FD.isfinite().all()
    assert [*map(str, sae.reads), *map(str, sae.writes), str(sae.hook)]
    assert sae.artifact is not None
    sae.artifact.source("store")


def use_scorecard(folder: Path) -> None:
    card = Scorecard.open(folder)
    str(card).encode()
    card.summary()
    score_table(card)
    matched_concepts(card)


def use_index(folder: Path) -> None:
    index = FeatureIndex.open(folder)
    index.overview()
    index.live()
    for sort in ("feature", "density"):
        index.features(sort, search="a", limit=10)
    for feature in range(0, min(index.num_features, 1000), 9):
        index.feature(feature).model_dump_json()


def use_index_part(folder: Path) -> None:
    part = read_part(open_artifact(folder, "index-part"))
    collected = joined([part.collected], IndexConfig(sampled_codes=100))
    merged(collected.runs, 0, len(collected.counts_F))


def use_planted(folder: Path) -> None:
    pair = PlantedPair(folder)
    str(pair.figures).encode()
    pair.figures.checks()
    for group in GROUPS:
        for prompt in pair.prompts(group):
            prompt.text.encode()
    for arm in ARMS:
        pair.folder(arm)
        pair.text(arm)


def use_record(folder: Path) -> None:
    for column in read_record(folder).values():
        assert column.ndim == 1


def use_edit(folder: Path) -> None:
    edit = Edit.open(folder)
    edit.recipe.toml().encode()
    edit.report.model_dump_json()
    with suppress(InputError):  # its dictionary need not be there
        edit.dictionary()


USES = {
    "store": use_store,
    "sae": use_sae,
    "scorecard": use_scorecard,
    "index": use_index,
    "index-part": use_index_part,
    "planted": use_planted,
    "record": use_record,
    "edit": use_edit,
}


def use_verified(folder: Path) -> None:
    """`lexiscope verify` reports what is wrong; it must not stumble over it."""
    assert all(problem.sentence for finding in verify([folder]) for problem in finding.problems)
    open_artifact(folder, folder.name)


def use_model(folder: Path) -> None:
    model = LanguageModel(folder)
    ids = model.tokenizer.encode("hello world, a").ids or [0]
    tokens_BC = torch.tensor([ids])
    model.read(tokens_BC, model.hook_points()[:2])
    model.logits(tokens_BC)
    model.unembed(torch.zeros(1, model.width))
    model.generate("ab", max_new_tokens=2)
    model.describe()
    [model.tokenizer.piece(number) for number in (0, 3, model.vocab_size - 1)]
    model.tokenizer.decode(ids)


def use_corpus(path: Path | str) -> None:
    corpus = Corpus(path)
    for document in corpus.documents():
        document.id.encode()
        document.text.encode()
    corpus.describe()
    str(corpus.report)
