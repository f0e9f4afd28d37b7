"""The text that the demo model is trained on: which sources, how much of each, and as tokens.

Usage: python tools/demo_model/mix.py --prose FOLDER --out FOLDER

FOLDER of ``--prose`` holds English text files in subfolders (novels, stories, speeches ...). A tenth of each source is
held out, by hash of the document's name, and never trained on.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lexiscope.text import generators
from lexiscope.text.corpus import Corpus

VOCABULARY = 4096
BOUNDARY = "<|endoftext|>"
SHARES = {
    "novels": 0.36,
    "stories": 0.07,
    "speeches": 0.03,
    "encyclopedia": 0.03,
    "verse": 0.01,
    "stdlib": 0.22,
    "installed": 0.09,
    "indirect_objects": 0.065,
    "agreement": 0.03,
    "repeats": 0.035,
    "base64_strings": 0.01,
    "lists": 0.01,
    "numbers": 0.015,
    "quotes": 0.015,
    "records": 0.01,
}
"""Share of the training tokens while the learning rate is constant."""
FINISHING_SHARES = SHARES | {"novels": 0.28, "indirect_objects": 0.15, "quotes": 0.01}
"""The same while it falls: one name in twenty-five tokens is the whole lesson of an indirect-object sentence."""
PROSE = {
    "novels": "novels",
    "stories": "tinystories",
    "speeches": "speeches",
    "encyclopedia": "wikitext2-valid/valid.txt",
    "verse": "tinyshakespeare/input.txt",
}
"""Where each kind of prose lies under ``--prose``."""
FEW_FILES = {"stories", "encyclopedia", "verse"}
"""Too few documents to hold some out: the last tenth of each is held out instead."""
MOST_CHARACTERS = {"installed": 25_000_000, "novels": 45_000_000}
GENERATED_CHARACTERS = {"indirect_objects": 12_000_000, "repeats": 8_000_000, "agreement": 5_000_000}


def documents(source: str, prose: Path, split: str) -> Iterator[str]:
    """Texts of one source. Generated pages of the two splits come from different seeds."""
    if source in generators.names():
        most = GENERATED_CHARACTERS.get(source, 3_000_000) // (1 if split == "train" else 20)
        texts: Iterator[str] = generators.pages(source, seed=1 if split == "train" else 2)
    else:
        most = MOST_CHARACTERS.get(source, 10**9)
        name = str(prose / PROSE[source]) if source in PROSE else source
        whole = source in FEW_FILES
        texts = (document.text for document in Corpus(name, seed=0, split="all" if whole else split).documents())
        if whole:
            texts = (text[: len(text) * 9 // 10] if split == "train" else text[len(text) * 9 // 10 :] for text in texts)
    characters = 0
    for text in texts:
        yield text
        characters += len(text)
        if characters > most:
            return


def train_tokenizer(prose: Path) -> Tokenizer:
    """Byte-level BPE on a sample in which each source has its share."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOUNDARY],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def sample() -> Iterator[str]:
        for source, share in SHARES.items():
            left = 12_000_000 * share
            for text in documents(source, prose, "train"):
                piece = text[: min(len(text), 200_000)]
                yield piece
                left -= len(piece)
                if left < 0:
                    break

    tokenizer.train_from_iterator(sample(), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Iterator[str]) -> np.ndarray:
    """All documents, each behind a boundary token."""
    boundary = tokenizer.token_to_id(BOUNDARY)
    parts: list[np.ndarray] = []
    while chunk := list(itertools.islice(texts, 256)):
        parts += [np.array([boundary, *one.ids], dtype=np.uint16) for one in tokenizer.encode_batch(chunk)]
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prose", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(arguments.prose)
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    sizes = {}
    for source, split in itertools.product(SHARES, ("train", "heldout")):
        tokens = encode(tokenizer, documents(source, arguments.prose, split))
        np.save(arguments.out / f"{source}.{split}.npy", tokens)
        sizes[f"{source}.{split}"] = len(tokens)
        print(f"{source:18} {split:8} {len(tokens):>12,} tokens", flush=True)
    (arguments.out / "sizes.json").write_text(json.dumps(sizes, indent=1))


if __name__ == "__main__":
    main()
