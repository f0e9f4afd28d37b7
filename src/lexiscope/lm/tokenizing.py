"""From a model folder to its tokenizer, and to whether its contexts begin with BOS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from lexiscope.core.errors import InputError
from lexiscope.text.tokenizer import FastTokenizer

Bos = Literal["context", "never"]

_ROLES = ("bos", "eos", "pad")


def load_tokenizer(folder: Path) -> tuple[FastTokenizer, Bos]:
    """The tokenizer, and "context" where it puts BOS in front of a text by itself.

    ``tokenizer.json`` says how text is cut; the files beside it (which may be absent or broken) name the special tokens.

    Raises:
        InputError: no usable tokenizer.
    """
    wrapped = _load_wrapped(folder)
    if (folder / "tokenizer.json").is_file():
        backend = _load_bare(folder / "tokenizer.json")
    elif wrapped is not None:
        backend = wrapped.backend_tokenizer
    else:
        raise InputError(f"{folder} holds no tokenizer.json; save the model's tokenizer into the folder")
    if wrapped is not None:
        roles = {role: getattr(wrapped, f"{role}_token_id") for role in _ROLES}
        first = wrapped("a").input_ids[:1]
    else:
        roles = {role: _stated_id(folder, backend, role) for role in _ROLES}
        first = backend.encode("a", add_special_tokens=True).ids[:1]
    tokenizer = FastTokenizer(backend, bos_id=roles["bos"], eos_id=roles["eos"], pad_id=roles["pad"])
    return tokenizer, "context" if roles["bos"] is not None and first == [roles["bos"]] else "never"


def _load_wrapped(folder: Path) -> Any:
    """The tokenizer as transformers sets it up, or None where it can't or has no fast one."""
    from transformers import AutoTokenizer

    try:
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


def _stated_id(folder: Path, backend: Any, role: str) -> int | None:
    """The token that ``config.json`` names for a role."""
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(f"{role}_token_id")
    return stated if isinstance(stated, int) and 0 <= stated < backend.get_vocab_size() else None
