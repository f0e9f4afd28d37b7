"""From a model folder to its tokenizer, and to whether its contexts begin with BOS."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError
from lexiscope.lm.quiet import quiet
from lexiscope.lm.weights import first_line, read_json
from lexiscope.text.tokenizer import FastTokenizer

Bos = Literal["context", "never"]

MOST_TOKENS = 2**24
"""No vocabulary has so many. The library makes a table as long as the largest id that a file names."""
FILES = ("tokenizer_config.json", "special_tokens_map.json", "merges.txt", "vocab.txt", "*.model")
"""Files beside ``tokenizer.json`` that a tokenizer may need."""
TABLES = ("tokenizer.json", "vocab.json", "added_tokens.json")
"""Files that give tokens their ids."""
_ROLES = ("bos", "eos", "pad")
_TRIALS = ("a", "", " The\n\t0", "é\u0301 \u4e2d\u6587 \U0001f642\u200d")
"""Texts that any tokenizer has to bear."""


def load_tokenizer(folder: Path, vocab_size: int) -> tuple[FastTokenizer, Bos]:
    """The tokenizer, and "context" where it puts BOS in front of a text by itself.

    ``tokenizer.json`` says how text is cut. Files beside it, which may be absent or broken, name the special tokens.

    Args:
        folder: the model's folder.
        vocab_size: of the model.

    Raises:
        InputError: no usable tokenizer, or one of another model.
    """
    config = read_json(folder / "config.json")
    tables = dict(_read_tables(folder))
    wrapped = _load_wrapped(folder, config, tables)
    if "tokenizer.json" in tables:
        backend = _load_bare(folder / "tokenizer.json", tables["tokenizer.json"])
    elif wrapped is not None:
        backend = wrapped.backend_tokenizer
    else:
        raise InputError(f"{folder} holds no tokenizer.json; save the model's tokenizer into the folder")
    if backend.get_vocab_size(with_added_tokens=False) > vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has {backend.get_vocab_size(with_added_tokens=False)} tokens, but the model only "
            f"{vocab_size}; put the model's own tokenizer into the folder"
        )
    if wrapped is not None:
        stated = {role: getattr(wrapped, f"{role}_token_id") for role in _ROLES}
        first = wrapped("a").input_ids[:1]
    else:
        stated = {role: config.get(f"{role}_token_id") for role in _ROLES}
        first = backend.encode("a", add_special_tokens=True).ids[:1]
    bos, eos, pad = (index if isinstance(index, int) and 0 <= index < vocab_size else None for index in stated.values())
    tokenizer = FastTokenizer(backend, bos_id=bos, eos_id=eos, pad_id=pad)
    return tokenizer, "context" if bos is not None and first == [bos] else "never"


def _read_tables(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in TABLES:
        try:
            if (folder / name).is_file():
                yield name, _read_table(folder / name)
        except InputError:
            if name == "tokenizer.json":
                raise


def _read_table(path: Path) -> dict[str, Any]:
    """A file with ids of tokens, none of them absurd; what would cut or pad texts is left out."""
    table = read_json(path)
    for index in _ids(table):
        if not isinstance(index, int) or not 0 <= index < MOST_TOKENS:
            raise InputError(f"{path} names a token {quoted(index)}; get the tokenizer again")
    return table | {"truncation": None, "padding": None} if path.name == "tokenizer.json" else table


def _ids(table: dict[str, Any]) -> Iterator[object]:
    """Every id that a file gives to a token."""
    if not isinstance(model := table.get("model"), dict):
        yield from table.values()
        return
    if isinstance(vocab := model.get("vocab"), dict):
        yield from vocab.values()
    if isinstance(added := table.get("added_tokens"), list):
        yield from (token.get("id") for token in added if isinstance(token, dict))


def _load_wrapped(folder: Path, config: dict[str, Any], tables: dict[str, dict[str, Any]]) -> Any:
    """The tokenizer as transformers sets it up, or None where it can't or has no fast one.

    It gets to see copies of the files that make a tokenizer. Of config.json only what names one: the rest could ask for
    anything.
    """
    from transformers import AutoTokenizer

    named = {key: config[key] for key in ("model_type", "tokenizer_class") if isinstance(config.get(key), str)}
    with TemporaryDirectory() as place, quiet():
        try:
            for file in (file for pattern in FILES for file in folder.glob(pattern) if file.is_file()):
                shutil.copyfile(file, Path(place, file.name))
            for name, table in {**tables, "config.json": named}.items():
                Path(place, name).write_text(json.dumps(table), encoding="utf-8")
            wrapped = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
            for text in _TRIALS:
                wrapped(text)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 (whatever is wrong with the files beside it, tokenizer.json may be whole)
            return None
    return wrapped if wrapped.is_fast else None


def _load_bare(path: Path, table: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(json.dumps(table))
        for text in _TRIALS:
            tokenizer.decode(tokenizer.encode(text).ids)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise InputError(f"{path} can't be read: {first_line(error)}; get the tokenizer again") from error
    return tokenizer
