"""Models made to run code on whoever loads them, or to lead elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.durability.bombs import PICKLES, Bundle, as_numpy, as_torch, code, pickled, template
from tests.durability.hostile import Victims

_SHADOWS = ["torch", "transformers", "safetensors", "sitecustomize", "usercustomize", "conftest", "numpy", "lexiscope"]


def models(victims: Victims) -> list[Bundle]:
    def model(name: str, change: Callable[[Path, Path], None], said: str | None = None) -> Bundle:
        def make(folder: Path, mark: Path) -> None:
            shutil.copytree(victims.model, folder)
            change(folder, mark)

        return Bundle("model", name, make, said)

    def only(file: str, content: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            (folder / "model.safetensors").unlink()
            (folder / file).write_bytes(content(mark))

        return change

    def beside(**files: Callable[[Path], bytes | str]) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            for name, content in files.items():
                data = content(mark)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())

        return change

    def config(**settings: Any) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py", "__init__.py"):
                (folder / name).write_text(code(mark))
            (folder / "evil.bin").write_bytes(as_torch(mark))
            _change_json(folder / "config.json", **settings)

        return change

    def tokenizer(**settings: Any) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            (folder / "tokenization_evil.py").write_text(code(mark))
            given = {key: template(mark) if value == "TEMPLATE" else value for key, value in settings.items()}
            _change_json(folder / "tokenizer_config.json", **given)

        return change

    def named_as_tensors(folder: Path, mark: Path) -> None:
        (folder / "model.safetensors").write_bytes(pickled(mark))

    def zip_named_as_tensors(folder: Path, mark: Path) -> None:
        (folder / "model.safetensors").write_bytes(as_torch(mark))

    def index_of_pickles(folder: Path, mark: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "part.bin").write_bytes(as_torch(mark))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": "part.bin"}}))

    def index_that_leads_out(folder: Path, mark: Path) -> None:
        shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
        listed = {"weight_map": {"lm_head.weight": "../outside.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(listed))

    def no_tokenizer_but(file: str, content: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            (folder / "tokenizer.json").unlink()
            (folder / file).write_bytes(content(mark))

        return change

    def adapter(folder: Path, mark: Path) -> None:
        (folder / "adapter_model.bin").write_bytes(as_torch(mark))
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/evil"}))

    remote = {
        "AutoConfig": "someone/evil--configuration_evil.Evil",
        "AutoModelForCausalLM": "someone/evil--modeling_evil.Evil",
    }
    local = {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
    runs = "may run code when it is opened"
    return [
        model("pytorch_model.bin alone", only("pytorch_model.bin", as_torch), runs),
        model("a plain pickle as pytorch_model.bin", only("pytorch_model.bin", pickled), runs),
        model("model.pt alone", only("model.pt", as_torch), runs),
        model("consolidated.00.pth alone", only("consolidated.00.pth", as_torch), runs),
        model("model.ckpt alone", only("model.ckpt", as_torch), runs),
        model("weights.pkl alone", only("weights.pkl", pickled), runs),
        model("weights.npz alone", only("weights.npz", as_numpy), "holds no model.safetensors"),
        model("a pickle called safetensors", named_as_tensors, "model.safetensors is truncated or damaged"),
        model("a zip of torch called safetensors", zip_named_as_tensors, "model.safetensors is truncated or damaged"),
        model("shards that are pickles", index_of_pickles, "lists no weights"),
        model("shards outside the folder", index_that_leads_out, "lists no weights"),
        model("pickles beside safetensors", beside(**dict.fromkeys(PICKLES, as_torch))),
        model("an adapter that leads elsewhere", adapter, "holds an adapter for another model"),
        model("auto_map, local", config(auto_map=local, trust_remote_code=True)),
        model("auto_map, remote", config(auto_map=remote, trust_remote_code=True)),
        model(
            "auto_map of an unknown type",
            config(auto_map=local, model_type="evil"),
            "wants to run Python code of its own",
        ),
        model("auto_map inside another table", config(text_config={"auto_map": local, "model_type": "evil"})),
        model(
            "kernels of a stranger",
            config(_attn_implementation_internal="someone/evil", attn_implementation="someone/evil:f"),
        ),
        model(
            "experts of a stranger",
            config(experts_implementation="someone/evil", _experts_implementation_internal="someone/evil"),
        ),
        model(
            "pipelines of a stranger",
            config(custom_pipelines={"evil": {"impl": "modeling_evil.Evil", "pt": ["AutoModel"]}}),
        ),
        model("weights named in config.json", config(transformers_weights="evil.bin")),
        model("another folder's weights", config(transformers_weights="../evil.bin", _name_or_path="someone/evil")),
        model("a type that is a path", config(model_type="../../evil"), "knows no model_type"),
        model("a type that is a function", config(model_type="os.system"), "knows no model_type"),
        model("an architecture that is a function", config(architectures=["os.system"]), "not a causal language model"),
        model("an activation that is a call", config(hidden_act="__import__('os').system('true')"), "config.json"),
        model("a dtype that is a function", config(dtype="os.system", torch_dtype="os.system")),
        model(
            "a quantiser of a stranger",
            config(quantization_config={"quant_method": "modeling_evil"}),
        ),
        model("a rope that is a function", config(rope_scaling={"rope_type": "os.system", "factor": 2.0}), "."),
        model(
            "generation by own code",
            beside(**{"custom_generate/generate.py": code, "custom_generate/requirements.txt": code}),
        ),
        model(
            "a tokenizer by own code",
            tokenizer(auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]}, tokenizer_class="Evil"),
        ),
        model("a tokenizer by remote code", tokenizer(auto_map={"AutoTokenizer": ["someone/evil--t.Evil", None]})),
        model("a chat template that escapes", tokenizer(chat_template="TEMPLATE")),
        model(
            "chat templates in files",
            beside(**{"chat_template.jinja": template, "additional_chat_templates/x.jinja": template}),
        ),
        model("a pickle for a tokenizer", no_tokenizer_but("tokenizer.pkl", pickled), "tokenizer.json"),
        model("a pickle for sentencepiece", no_tokenizer_but("tokenizer.model", pickled), "tokenizer.json"),
        model("modules with well-known names", beside(**{f"{name}.py": code for name in _SHADOWS})),
    ]


def _change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}), encoding="utf-8")
