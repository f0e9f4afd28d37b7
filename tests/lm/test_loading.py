"""Everything that can be wrong with a model, each said in one sentence that names it; and no foreign code runs."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiscope.core.errors import InputError
from lexiscope.lm import loading
from lexiscope.lm.model import LanguageModel


@pytest.fixture
def folder(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A whole model that a test may break."""
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


def change_config(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def refused(folder: Path | str, message: str, **settings: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        LanguageModel(folder, **settings)
    assert "\n" not in str(caught.value)


def plant(folder: Path) -> Path:
    """Code in the model's folder that leaves a mark if it ever runs."""
    mark = folder / "ran"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py"):
        (folder / name).write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    return mark


def test_wrong_path(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no model folder at")
    refused("./nowhere", "no model folder at ./nowhere")
    refused(tmp_path, "holds no config.json")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "is a file; give the folder")


def test_config_that_is_none(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    refused(folder, r"config\.json can't be read")
    (folder / "config.json").write_text("[1]")
    refused(folder, r"config\.json is not a JSON object")
    (folder / "config.json").write_text('{"model_type": ["llama"]}')
    refused(folder, "knows no model_type")
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}')
    refused(folder, r"config\.json has a wrong setting|can't load this model")


def test_not_a_causal_language_model(folder: Path) -> None:
    change_config(folder, architectures=["LlamaForSequenceClassification"])
    refused(folder, "LlamaForSequenceClassification, which is not a causal language model")
    change_config(folder, model_type="t5", architectures=["T5ForConditionalGeneration"])
    refused(folder, "not a causal language model")
    change_config(folder, model_type="clip", architectures=None)
    refused(folder, "clip, which is not a causal language model")


def test_unknown_type_that_brings_code_is_refused_and_not_run(folder: Path) -> None:
    mark = plant(folder)
    code = {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
    change_config(folder, model_type="evil", auto_map=code, trust_remote_code=True)
    refused(folder, "wants to run Python code of its own")
    assert not mark.exists()


def test_known_type_that_brings_code_loads_without_it(folder: Path) -> None:
    mark = plant(folder)
    code = {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
    change_config(
        folder,
        auto_map=code,
        trust_remote_code=True,
        attn_implementation="someone/kernel",
        _attn_implementation_internal="someone/kernel",
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": ["tokenization_evil.Evil", None]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = LanguageModel(folder)
    assert type(model.module).__name__ == "LlamaForCausalLM"
    assert model.module.config._attn_implementation in ("sdpa", "eager")
    assert model.bos == "context"
    assert not mark.exists()


def test_weights_that_are_not_safetensors(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused(folder, r"holds no model\.safetensors, and no other format.*pytorch_model\.bin may run code.*safetensors")
    (folder / "pytorch_model.bin").unlink()
    refused(folder, r"holds no model\.safetensors, .*; save the model with save_pretrained")


@pytest.mark.parametrize("kept_bytes", [0, 4, 200, -1])
def test_truncated_weights(folder: Path, kept_bytes: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept_bytes])
    refused(folder, r"model\.safetensors is truncated or damaged")


def test_shards(folder: Path) -> None:
    """Oracle: the same weights in one file."""
    whole = LanguageModel(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / f"part-{number}.safetensors", {"format": "pt"})
    weight_map = {name: f"part-{place % 2}.safetensors" for place, name in enumerate(names)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    tokens_BC = torch.tensor([[1, 5, 9]])
    sharded = LanguageModel(folder)
    assert torch.equal(sharded.logits(tokens_BC), whole.logits(tokens_BC))
    assert sharded.fingerprint != whole.fingerprint
    (folder / "part-1.safetensors").unlink()
    refused(folder, r"part-1\.safetensors is missing")
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../part-0.safetensors"}}))
    refused(folder, "lists no weights")


def test_weights_that_do_not_fit(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    refused(folder, r"1 tensors are missing or of another shape, such as model\.norm\.weight")
    save_file(tensors | {"model.norm.weight": norm[:5].clone()}, folder / "model.safetensors", {"format": "pt"})
    refused(folder, r"model\.norm\.weight|another shape|mismatch")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 10**6}, "num_hidden_layers = 1000000, but the weights are 30 tensors"),
        ({"num_hidden_layers": -1}, "num_hidden_layers = -1"),
        ({"vocab_size": 10**9}, "it describes 32,000,005,872 numbers, they hold 7,920"),
        ({"intermediate_size": 10**18}, "config.json has a wrong setting|numbers, they hold"),
        ({"hidden_size": 10**6}, "numbers, they hold"),
        ({"model_type": "gpt2", "n_positions": 10**9, "architectures": None}, "don't fit|numbers, they hold"),
        ({"sliding_window": "wide"}, "."),
    ],
)
def test_a_config_that_claims_more_than_the_weights_hold(folder: Path, settings: dict[str, Any], message: str) -> None:
    """Before memory is taken for it, and before a thousand million modules are made."""
    change_config(folder, **settings)
    before = peak_bytes()
    with suppress(InputError) if message == "." else pytest.raises(InputError, match=message):
        LanguageModel(folder)
    assert peak_bytes() - before < 400e6


def peak_bytes() -> int:
    """Resident memory, at its most since the process began."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_tables_of_labels_are_not_made(folder: Path) -> None:
    change_config(folder, num_labels=10**9, id2label={"0": "a"})
    assert LanguageModel(folder).num_layers == 3


def test_an_adapter_does_not_lead_elsewhere(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    refused(folder, "holds an adapter for another model; merge the two")


def test_a_model_that_does_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied\nmore")

    monkeypatch.setattr("transformers.LlamaForCausalLM.forward", fail)
    refused(folder, "the model does not run: shapes cannot be multiplied; check config.json")


def test_what_a_manifest_names_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append(options["local_files_only"])
        raise FileNotFoundError

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    refused("someone/model", "is not on this machine, and nothing is fetched", fetch=False)
    refused("someone/model", "can be had from the Hugging Face hub")
    assert asked == [True, False]


def test_dtype_and_device(folder: Path) -> None:
    refused(folder, "no dtype is called 'int8'; choose one of float32", dtype="int8")
    refused(folder, "can't put the model on device 'nonsense'", device="nonsense")


@pytest.mark.parametrize(("installed", "ok"), [("5.2.0", False), ("4.57.3", False), ("5.9.0", True), ("5.10.1", True)])
def test_transformers_too_old(folder: Path, monkeypatch: pytest.MonkeyPatch, installed: str, ok: bool) -> None:
    monkeypatch.setattr(loading, "version", lambda _: installed)
    if ok:
        loading.require_transformers()
    else:
        refused(folder, f"transformers {installed} is installed, but 5.9 or newer is needed")


def test_missing_demo_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "files", lambda _: tmp_path)
    refused("demo", "this installation has no demo model")


def test_demo_model_is_a_folder_of_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "files", lambda _: folder.parent)
    folder.rename(folder.with_name("demo"))
    assert LanguageModel("demo").name == "demo"


def test_name_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise OSError("no route to host\nand a long explanation")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    refused("someone/some-model", r"no folder 'someone/some-model' here.*no route to host.*give a local folder")
    refused("gpt3", "at revision v9", revision="v9")


def test_name_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: a stand-in for the hub that notes what it is asked for."""
    commit = folder.with_name("0123abc")
    folder.rename(commit)
    asked: dict[str, Any] = {}

    def download(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        return str(commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = LanguageModel("someone/some-model", revision="main")
    assert (model.name, model.revision) == ("someone/some-model", "0123abc")
    assert (asked["name"], asked["revision"]) == ("someone/some-model", "main")
    assert not any(pattern.endswith((".py", ".bin", ".pt", "*")) for pattern in asked["allow_patterns"])
    (commit / "config.json").unlink()
    refused("someone/some-model", "holds no config.json")
