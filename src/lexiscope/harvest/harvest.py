"""harvest: run a model over a corpus once and keep its activations on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lexiscope.core.checkpoint import Checkpoints, Keeping, same_conditions
from lexiscope.core.draft import conditions, write_artifact
from lexiscope.core.errors import CorpusError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.stop import Stopped, stoppable
from lexiscope.harvest.background import Behind, one_ahead
from lexiscope.harvest.dtypes import DTYPES, StoredDtype
from lexiscope.harvest.estimate import estimate
from lexiscope.harvest.layout import StoreConfig
from lexiscope.harvest.rows import Rows, pack_for, read_rows, resolve_hooks
from lexiscope.harvest.store import ActivationStore
from lexiscope.harvest.writer import StoreWriter
from lexiscope.lm.model import LanguageModel
from lexiscope.text.corpus import Corpus
from lexiscope.text.pack import PackReport

SHARD_TOKENS = 1 << 17
"""64 MiB per shard at width 256 in bfloat16, 1 GiB at width 4096."""


def harvest(
    model: LanguageModel,
    corpus: Corpus,
    hooks: Sequence[HookPoint | str],
    *,
    out: Path | str,
    tokens: int,
    context: int = 256,
    batch: int = 32,
    dtype: StoredDtype = "bfloat16",
    seed: int = 0,
    shard_tokens: int = SHARD_TOKENS,
    keeping: Keeping = Keeping(),  # noqa: B008  frozen
    progress: Progress = SILENT,
) -> ActivationStore:
    """Store the activations of ``tokens`` text tokens at every hook point, in one pass over the corpus.

    Rows of BOS, special tokens and padding are never stored. If the corpus ends early, the store holds what there was;
    the manifest then has a note ``shortfall``. The same call goes on where one that was interrupted wrote its last
    checkpoint: the text is read again, the model does not run again on what is stored.

    Args:
        tokens: rows to store.
        context: tokens per context, BOS included.
        batch: contexts per forward pass.
        seed: the seed of the run, for the manifest; harvesting itself draws no random numbers.
        keeping: of checkpoints. A step is a forward pass.

    Raises:
        InputError: a setting or hook point is wrong, the disk has too little room, or an activation is not finite.
        CorpusError: the corpus has no usable token.
        DiskError: the disk is full or failed.
        Stopped: by Ctrl-C or SIGTERM, after a checkpoint.
    """
    points = resolve_hooks(model, hooks)
    config = StoreConfig.read(
        {
            "hooks": tuple(map(str, points)),
            "dtype": dtype,
            "context": context,
            "batch": batch,
            "tokens": tokens,
            "shard_tokens": shard_tokens,
        },
        "harvest",
    )
    size = estimate(model, points, tokens=tokens, out=out, dtype=dtype)
    size.check(Path(out))
    widths = {point: model.width_at(point) for point in points}
    report = PackReport()
    batches = pack_for(model, corpus.documents(), context=context, batch=batch, report=report)
    sources: dict[str, Any] = {"model": model.describe()}
    settings = config.model_dump(mode="json")
    with (
        write_artifact(out, "store", config=settings, seed=seed, sources=sources, keeping=keeping) as draft,
        progress.task("Harvesting", total=tokens, unit="tokens") as task,
    ):
        after = draft.checkpoints.newest()
        here = conditions()
        if after is not None:
            here = same_conditions(Path(out).name, here, after.values["conditions"])
        with closing(
            StoreWriter(draft.path, widths, DTYPES[dtype], shard_tokens, tokens=tokens, after=after)
        ) as writer:
            started = time.perf_counter()

            def show(rows: int, done: int) -> None:
                task.advance(rows, note=size.note(done / tokens, time.perf_counter() - started))

            with closing(one_ahead(batches)) as ready:
                found = read_rows(model, ready, points, DTYPES[dtype], first_row=writer.first_row)
                done = _fill(writer, found, tokens, draft.checkpoints, here, show)
            if not done:
                raise CorpusError("the corpus has no token that can be stored; give longer documents")
            notes, known = writer.finish()
        draft.notes |= notes | {"dropped_tokens": report.dropped_tokens, "conditions": here}
        draft.known |= known
        if done < tokens:
            draft.notes["shortfall"] = f"the corpus ended after {done:,} of {tokens:,} tokens"
            task.advance(0, note=draft.notes["shortfall"])
        # Described last: only now does the corpus know how many documents it read and skipped.
        sources["corpus"] = corpus.describe()
    return ActivationStore.open(out)


def _fill(
    writer: StoreWriter,
    found: Iterator[Rows],
    tokens: int,
    checkpoints: Checkpoints,
    here: Mapping[str, str],
    show: Callable[[int, int], None],
) -> int:
    """Write up to ``tokens`` rows in a thread of their own, and checkpoints. Returns how many there were.

    Raises:
        Stopped: by Ctrl-C or SIGTERM, after a checkpoint.
    """
    done = last = 0

    def keep(batches_done: int) -> None:
        if batches_done == last or checkpoints.due(batches_done):
            tensors, values = writer.state()
            checkpoints.save(batches_done, tensors, {**values, "conditions": here})

    with stoppable() as asked:
        with Behind() as behind:
            for number, rows in enumerate(found, 1):
                kept = rows.head(tokens - done)
                behind.do(writer.append, kept)
                done += len(kept)
                show(len(kept), done)
                if done == tokens:
                    break
                if rows.activations:
                    last = number if asked else 0
                    behind.do(keep, number)
                    if last:
                        break
        if last:
            message = f"stopped after a checkpoint at {done:,} tokens; the same command goes on from there"
            raise Stopped(message, asked.signal_number)
    return done
