"""Harvest against the bare forward pass up to the same layer.

    python bench/harvest.py      a random-weight Llama (d = 256, 4 layers), and the demo model where it is packaged

Both run the same contexts. The bare pass is the Hugging Face module cut after the layer, on batches that are packed
beforehand. The harvest is all of `harvest`: reading and tokenizing the text, statistics, writing, hashing, flushing to
disk. Rounds are interleaved, because other work on the machine comes and goes, and the ratio is the median over rounds
of bare seconds per harvest seconds: by the wall clock, and in processor time, which other work disturbs less (it means
something with one thread only, OMP_NUM_THREADS=1, as waiting threads burn processor time too).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from lexiscope.core.errors import InputError
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.rows import pack_for
from lexiscope.lm.model import LanguageModel
from lexiscope.text.corpus import Corpus
from lexiscope.text.pack import TokenBatch

CONTEXT, BATCH = 256, 32


def random_llama(folder: Path) -> LanguageModel:
    """Llama of the demo's size with random weights, and a byte-level tokenizer trained on a little text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [document.text for document, _ in zip(Corpus("stdlib").documents(), range(50), strict=False)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=4096, special_tokens=["<s>"], initial_alphabet=alphabet)
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return LanguageModel(folder)


def bare_forward(model: LanguageModel, layer: int) -> Callable[[TokenBatch], object]:
    """The module's decoder without the blocks after ``layer``, its final norm and the unembedding."""
    decoder = copy.deepcopy(model.module.base_model)
    decoder.layers = decoder.layers[: layer + 1]
    decoder.norm = torch.nn.Identity()

    @torch.no_grad()
    def forward(batch: TokenBatch) -> object:
        return decoder(input_ids=batch.tokens_BC, use_cache=False)

    return forward


def compare(name: str, model: LanguageModel, tokens: int, rounds: int) -> None:
    layer = model.num_layers // 2
    forward = bare_forward(model, layer)
    batches: list[TokenBatch] = []
    left = tokens
    for batch in pack_for(model, Corpus("stdlib").documents(), context=CONTEXT, batch=BATCH):
        batches.append(batch)
        left -= int(batch.mask_BC.sum())
        if left <= 0:
            break
    forward(batches[0])
    wall, processor, speeds = [], [], []
    for _ in range(rounds):
        bare = timed(lambda: [forward(batch) for batch in batches])
        with tempfile.TemporaryDirectory() as folder:
            whole = timed(
                lambda out=Path(folder) / "store": harvest(
                    model,
                    Corpus("stdlib"),
                    [f"resid_post.{layer}"],
                    out=out,
                    tokens=tokens,
                    context=CONTEXT,
                    batch=BATCH,
                )
            )
        wall.append(bare.wall / whole.wall)
        processor.append(bare.processor / whole.processor)
        speeds.append(tokens / bare.wall)
    print(
        f"{name}, resid_post.{layer}, {tokens:,} tokens, {torch.get_num_threads()} threads: "
        f"bare forward {statistics.median(speeds):,.0f} tokens/s; harvest keeps {statistics.median(wall):.3f} of it "
        f"by the wall clock ({min(wall):.3f} to {max(wall):.3f}), {statistics.median(processor):.3f} in processor time"
    )


class Seconds(NamedTuple):
    wall: float
    processor: float


def timed(work: Callable[[], object]) -> Seconds:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare("random Llama, d = 256, 4 layers", random_llama(Path(folder)), arguments.tokens, arguments.rounds)
    try:
        demo = LanguageModel("demo")
    except InputError as error:
        print(f"demo model left out: {error}")
    else:
        compare("demo model", demo, arguments.tokens, arguments.rounds)


if __name__ == "__main__":
    main()
