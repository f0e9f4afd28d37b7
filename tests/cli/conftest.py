"""A run folder that the command line made: a random Llama with a byte-level tokenizer, and a folder of small texts."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def lexiscope() -> Callable[..., Outcome]:
    """Run the program in this process, as from a shell."""
    from lexiscope.cli import console
    from lexiscope.cli.main import main

    def run(*arguments: object) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setattr("sys.argv", ["lexiscope", *map(str, arguments)])
            patch.setattr(console.errors, "file", err)
            patch.setattr(console.output, "file", out)
            try:
                main()
            except SystemExit as end:
                return Outcome(int(end.code or 0), out.getvalue(), err.getvalue())
        return Outcome(0, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny", seed=0)


def write_model(folder: Path, seed: int) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<s>": 0} | {piece: n + 1 for n, piece in enumerate(alphabet)}, []))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<s>", "pad_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lexiscope.text import generators

    folder = tmp_path_factory.mktemp("texts")
    for name in ("quotes", "records"):
        for number, page in zip(range(40), generators.pages(name, 0), strict=False):
            (folder / f"{name}{number}.txt").write_text(page)
    return folder


@pytest.fixture(scope="session")
def run_folder(
    tmp_path_factory: pytest.TempPathFactory,
    lexiscope: Callable[..., Outcome],
    model_folder: Path,
    corpus_folder: Path,
) -> Path:
    """store, sae, scorecard and index, each made by its verb."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    sizes = ["--set", "context=32", "--set", "batch=16", "--tokens", 8000]
    done = lexiscope(
        "harvest",
        "--model",
        model_folder,
        "--corpus",
        corpus_folder,
        "--hook",
        "resid_post.0",
        *sizes,
        "--out",
        out / "store",
    )
    assert done.code == 0, done.err
    short = [f"sae.{setting}" for setting in ("k=4", "expansion=2")]
    short += [f"optimise.{setting}" for setting in ("tokens=20000", "batch_tokens=500", "heldout_tokens=400")]
    done = lexiscope("train", "--store", out / "store", *with_set(short), "--out", out / "sae")
    assert done.code == 0, done.err
    few = ["tokens=500", "loss_tokens=300", "concept_tokens=2000", "sample_tokens=1000"]
    done = lexiscope("measure", out / "sae", *with_set(few), "--out", out / "scorecard")
    assert done.code == 0, done.err
    done = lexiscope("index", out / "sae", "--out", out / "index")
    assert done.code == 0, done.err
    return out


def with_set(assignments: list[str]) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]
