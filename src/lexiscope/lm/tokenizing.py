"""From a model folder to its tokenizer, and to whether its contexts begin with BOS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from lexiscope.core.errors import InputError
from lexiscope.lm.quiet import quiet
from lexiscope.text.tokenizer import FastTokenizer

Bos = Literal["context", "never"]

_ROLES = ("bos", "eos", "pad")


def load_tokenizer(folder: Path, vocab_size: int) -> tuple[FastTokenizer, Bos]:
    """The tokenizer, and "context" where it puts BOS in front of a text by itself.

    ``tokenizer.json`` says how text is cut. Files beside it, which may be absent or broken, name the special tokens.

    Args:
        folder: the model's folder.
        vocab_size: of the model.

    Raises:
        InputError: no usable tokenizer, or one of another model.
    """
    wrapped = _load_wrapped(folder)
    path = folder / "tokenizer.json"
    if path.is_file():
        backend = _load_bare(path)
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
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        stated = {role: config.get(f"{role}_token_id") for role in _ROLES}
        first = backend.encode("a", add_special_tokens=True).ids[:1]
    bos, eos, pad = (index if isinstance(index, int) and 0 <= index < vocab_size else None for index in stated.values())
    tokenizer = FastTokenizer(backend, bos_id=bos, eos_id=eos, pad_id=pad)
    return tokenizer, "context" if bos is not None and first == [bos] else "never"


def _load_wrapped(folder: Path) -> Any:
    """The tokenizer as transformers sets it up, or None where it can't or has no fast one."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            wrapped = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:  # noqa: BLE001 (whatever is wrong with the files beside it, tokenizer.json may be whole)
        return None
    return wrapped if wrapped.is_fast else None


def _load_bare(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise InputError(f"{path} can't be read: {error}; get the tokenizer again") from error
