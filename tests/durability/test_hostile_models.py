"""Models of strangers, and things that do not belong together. Oracle: they work, or are refused in one sentence,
within seconds, in less than twice the memory, before anything is written.
"""

from __future__ import annotations

import json
import random
import shutil

import pytest
from safetensors.torch import load_file, save_file
from tests.durability.hostile import NASTY, PIECES, Memory, Victims, damaged, ends_well, mutated, reseal, victims
from tests.durability.uses import use_model

from lexiscope.core.errors import CorpusError, InputError
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.build import build_index
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import load
from lexiscope.text.corpus import Corpus


@pytest.fixture(scope="module")
def given_to(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return victims(tmp_path_factory)


MODEL_FILES = [
    "config.json",
    "config.json",
    "tokenizer.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
]
SETTINGS = """num_experts num_local_experts quantization_config rope_scaling auto_map attn_implementation dtype
    sliding_window layer_types text_config vision_config num_labels id2label is_encoder_decoder tie_word_embeddings
    pad_token_id head_dim num_key_value_heads experts_implementation trust_remote_code name_or_path tp_plan
    transformers_weights""".split()
VALUES = [
    *NASTY,
    "gpt2",
    "mamba",
    "mixtral",
    "opt",
    "t5",
    "someone/kernel",
    {"rope_type": "x", "factor": 1e300},
    10**9,
    7,
    128,
]


def test_no_file_of_a_model_breaks_its_loading(given_to, tmp_path, amount, figure) -> None:
    rng, wanted, taken = random.Random(3), amount(40, 2000), 0
    with Memory() as memory:
        for number in range(wanted):
            folder = shutil.copytree(given_to.model, tmp_path / "model", dirs_exist_ok=True)
            file = folder / rng.choice(MODEL_FILES)
            if rng.random() < 0.2:
                file.write_bytes(damaged(file.read_bytes(), rng, PIECES))
            else:
                tree, _ = mutated(json.loads(file.read_bytes()), rng, SETTINGS, VALUES)
                file.write_text(json.dumps(tree), encoding="utf-8")
            what = (number, file.name, file.read_text(errors="replace")[:1500] if file.name != "tokenizer.json" else "")
            taken += ends_well(lambda folder=folder: use_model(folder), what) is None
    assert taken
    figure("mutated files of models: tracebacks, hangs", f"0 of {wanted}", "0 of 2000")
    assert memory.factor < 2


def test_a_layer_that_is_not_there(given_to, tmp_path) -> None:
    model = LanguageModel(given_to.model)
    for hook, words in (
        ("resid_post.2", "layers 0 to 1"),
        ("resid_post.999999999", "layers 0 to 1"),
        ("module:a.b", "no module"),
    ):
        with pytest.raises(InputError, match=words):
            harvest(model, Corpus(given_to.texts), [hook], tokens=100, context=32, out=tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_documents_of_one_token(given_to, tmp_path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(30):
        (tmp_path / "texts" / f"{number}.txt").write_text("a")
    with pytest.raises(CorpusError, match="no token that can be stored; give longer documents"):
        harvest(
            LanguageModel(given_to.model),
            Corpus(tmp_path / "texts"),
            ["resid_post.0"],
            tokens=100,
            context=32,
            out=tmp_path / "s",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]


def test_tokens_that_the_vocabulary_has_not(given_to, tmp_path) -> None:
    folder = shutil.copytree(given_to.run / "store", tmp_path / "store")
    column = folder / "rows" / "tokens.safetensors"
    column.write_bytes(column.read_bytes()[:-4] + (2**31 - 1).to_bytes(4, "little"))
    reseal(folder)
    sae = load(given_to.run / "sae")
    with (
        Memory() as memory,
        pytest.raises(InputError, match="has token 2147483647, but the model's tokenizer only 257"),
    ):
        build_index(sae, LanguageModel(given_to.model), ActivationStore.open(folder), out=tmp_path / "index")
    assert memory.peak - memory.before < 100e6


def test_a_model_of_another_vocabulary(given_to, tmp_path) -> None:
    folder = shutil.copytree(given_to.model, tmp_path / "model")
    table = json.loads((folder / "tokenizer.json").read_text())
    table["model"]["vocab"] |= {f"more{number}": 257 + number for number in range(3)}
    (folder / "tokenizer.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match="the tokenizer has 260 tokens, but the model only 257"):
        LanguageModel(folder)


def test_weights_that_are_not_finite(given_to, tmp_path) -> None:
    """Of a model: found in the first activations; of an autoencoder: when it is read."""
    folder = shutil.copytree(given_to.model, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"the activation at resid_post\.0 is NaN or infinite on token"):
        harvest(
            LanguageModel(folder), Corpus(given_to.texts), ["resid_post.0"], tokens=100, context=32, out=tmp_path / "s"
        )
    sae = shutil.copytree(given_to.run / "sae", tmp_path / "sae")
    weights = load_file(sae / "sae.safetensors")
    weights["b_dec_D"][0] = float("inf")
    save_file(weights, sae / "sae.safetensors")
    reseal(sae)
    assert "b_dec_D is not finite" in str(ends_well(lambda: load(sae)))
