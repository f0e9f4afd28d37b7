"""The tokenizer of a model's folder: special tokens, BOS, and folders in which half of it is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lexiscope.core.errors import InputError
from lexiscope.lm.model import LanguageModel


@pytest.fixture
def folder(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A whole model whose tokenizer a test may break."""
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


def test_special_tokens_and_text(folder: Path) -> None:
    tokenizer = LanguageModel(folder).tokenizer
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (1, 2, 0)
    assert tokenizer.special_ids == {0, 1, 2}
    assert tokenizer.encode("a b").ids == [3, 4]


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("adds_bos", [False, True])
def test_bos_is_there_when_the_tokenizer_itself_puts_it_there(folder: Path, adds_bos: bool, broken: bool) -> None:
    if not adds_bos:
        pipeline = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(pipeline | {"post_processor": None}))
    if broken:
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "NoSuchTokenizer", "auto_map": 3')
    model = LanguageModel(folder)
    assert model.bos == ("context" if adds_bos else "never")
    assert (model.tokenizer.bos_id, model.tokenizer.eos_id, model.tokenizer.pad_id) == (1, 2, 0)


def test_tokenizer_config_may_be_absent(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    assert LanguageModel(folder).tokenizer.encode("a b").ids == [3, 4]


def test_no_usable_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json can't be read"):
        LanguageModel(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        LanguageModel(folder)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match=r"holds no tokenizer\.json"):
        LanguageModel(folder)


@pytest.mark.parametrize("index", [2**31, -1, "a", None])
def test_ids_that_no_table_holds(folder: Path, index: object) -> None:
    """The library would make a list as long as the largest one."""
    pipeline = json.loads((folder / "tokenizer.json").read_text())
    pipeline["model"]["vocab"]["far"] = index
    (folder / "tokenizer.json").write_text(json.dumps(pipeline))
    with pytest.raises(InputError, match=r"tokenizer\.json names a token"):
        LanguageModel(folder)


def test_a_tokenizer_that_pads_to_the_horizon(folder: Path) -> None:
    pipeline = json.loads((folder / "tokenizer.json").read_text())
    padding = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None}
    pipeline["padding"] = padding | {"pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}
    (folder / "tokenizer.json").write_text(json.dumps(pipeline))
    (folder / "tokenizer_config.json").unlink()
    assert LanguageModel(folder).tokenizer.encode("a b").ids == [3, 4]


def test_files_beside_it_may_be_nonsense(folder: Path) -> None:
    (folder / "added_tokens.json").write_text('{"<far>": 1000000000000}')
    (folder / "vocab.json").write_text("[")
    assert LanguageModel(folder).tokenizer.encode("a b").ids == [3, 4]


def test_tokenizer_of_another_model(folder: Path) -> None:
    pipeline = json.loads((folder / "tokenizer.json").read_text())
    pipeline["model"]["vocab"] |= {f"more{i}": 64 + i for i in range(10)}
    (folder / "tokenizer.json").write_text(json.dumps(pipeline))
    with pytest.raises(InputError, match="the tokenizer has 74 tokens, but the model only 64"):
        LanguageModel(folder)


def test_padding_token_that_the_model_lacks(folder: Path) -> None:
    """Some published models name a padding token beyond their vocabulary; the end of text pads instead."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<more>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<more>"}))
    assert LanguageModel(folder).tokenizer.pad_id == 2
