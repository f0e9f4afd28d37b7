"""A small byte-level BPE, trained on the spot."""

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from lexiscope.text.tokenizer import FastTokenizer

TEXT = [
    "the cat sat on the mat",
    "the dog and the cat",
    "def sat(self, the): return the_mat\n    ",
    "naïve café 👩 e\u0301",
]


@pytest.fixture(scope="session")
def pipeline() -> tokenizers.Tokenizer:
    """Byte-level BPE with <bos> = 0, <eos> = 1, and the span-trimming post-processor that RoBERTa uses."""
    pipeline = tokenizers.Tokenizer(models.BPE())
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    pipeline.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<bos>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    pipeline.train_from_iterator(TEXT * 3, trainer)
    return pipeline


@pytest.fixture(scope="session")
def tokenizer(pipeline) -> FastTokenizer:
    return FastTokenizer(pipeline, bos_id=0, eos_id=1)
