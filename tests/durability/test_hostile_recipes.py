"""Recipes and settings that nobody would write, through every verb. Oracle: the program takes them, or says what is
wrong in one sentence that names the key, the file or the option, with exit code 2, within seconds and in its memory.

Verbs run in this process, up to where their work would begin; a few in a process of their own.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.durability.conftest import SOAK
from tests.durability.hostile import (
    NASTY,
    Memory,
    Outcome,
    Victims,
    a_sentence,
    begin,
    damaged,
    ends_well,
    in_time,
    lexiscope,
    mutated,
    places,
    victims,
)

from lexiscope.bench.bench import BenchConfig
from lexiscope.cli.pipeline import DemoSettings
from lexiscope.cli.recipes import FinetuneRecipe, HarvestRecipe, TrainRecipe
from lexiscope.core.config import Config
from lexiscope.harvest.layout import StoreConfig
from lexiscope.index.config import IndexConfig
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.scorecard import MeasureConfig
from lexiscope.saes.registry import architectures, class_of, read_config
from lexiscope.train import finetune
from lexiscope.train.config import TrainConfig
from lexiscope.train.spikes import Recovery
from lexiscope.train.terms import terms

RECIPES = {
    "harvest": """
        model = "demo"
        corpus = "TEXTS"
        hooks = ["resid_post.0"]
        tokens = 1000
        context = 32
        batch = 4
        dtype = "float32"
        model_dtype = "float32"
        seed = 3
        split = "all"
        text_column = "text"
        """,
    "train": """
        hook = "resid_post.0"
        sae = { architecture = "topk", expansion = 2, k = 4, init = "random", multi_k_weight = 0.5 }
        recovery = { every_seconds = 60, every_steps = 5, keep = 2, max_gb = 1.0, on_spike = "skip", spike_factor = 9 }
        [train.optimise]
        tokens = 4000
        batch_tokens = 500
        heldout_tokens = 200
        lr = 1e-3
        warmup_steps = 2
        decay_fraction = 0.1
        terms = ["auxk", { name = "resample", every_tokens = 1000 }]
        grad_clip = 1.0
        dead_after_tokens = 100
        normalise = "centre"
        precision = "float32"
        repair = ["duplicates"]
        weights_dtype = "float32"
        optimizer_bits = 32
        seed = 1
        data_seed = 2
        log_every_steps = 5
        evaluate_every_steps = 10
        """,
    "sweep": """
        hook = "resid_post.0"
        optimise = { tokens = 4000, batch_tokens = 500 }
        grid = { "sae.num_latents" = [20, 30], "optimise.lr" = [1e-3, 2e-3] }
        members = [{ sae = { num_latents = 44 } }]
        [train.sae]
        architecture = "matryoshka"
        num_latents = 20
        activation = { name = "batch_topk", k = 2 }
        prefixes = [2, 5]
        prefix_weights = [1, 1, 1]
        """,
    "finetune": """
        loss = "kl"
        weight = 1.0
        context = 32
        batch = 4
        tokens = 2000
        lr = 1e-4
        optimise = { heldout_tokens = 200 }
        """,
}
MORE_KEYS = """k_used budgets prefixes prefix_shares activation penalty coefficient bandwidth l1_coefficient p_end
    site_widths skip ridge max_steps tolerance init_variance target_l0 sparsity_warmup_fraction target grid members
    tokens hooks zz a.b __class__ model_config per_token_first ks name""".split()
MORE_KEYS += ["", "\x1b"]


class Toml(str):
    """Text that is TOML already."""

    __slots__ = ()


NASTY_TOML = [
    *NASTY,
    *map(Toml, ("nan", "inf", "-inf", "1e400", "0x" + "f" * 5000, "9" * 5000, "1979-05-27", "07:32:00")),
    *(
        Toml(opening * depth + "1" + closing * depth)
        for opening, closing in ("[]", ("{a=", "}"))
        for depth in (50, 5000)
    ),
    *({"architecture": name} for name in ("topk", "ica", "neurons", "crosscoder", "os.system", "", 3)),
    {"expansion": 1e300},
    {"num_latents": 10**18},
    {"num_latents": 2**31 - 1, "architecture": "gated"},
    {"architecture": "hierarchical_topk", "budgets": "all", "k": 10**18},
    {"architecture": "matryoshka", "prefixes": [10**30]},
    {"architecture": "matryoshka", "prefix_weights": [1e308] * 5},
    {"architecture": "crosscoder", "site_widths": [10**18, 1]},
    [{"name": "resample", "candidate_tokens": 10**18}],
    ["auxk"] * 50,
]
PIECES = [
    b"\xed\xa0\x80",
    b"\0",
    b"[[",
    b"{",
    b'"""',
    b"\x1b[31m",
    b"\xff\xfe",
    b"[train]\n",
    b"sae.k=3\n",
    b"=",
    b"seed = 1\n",
]


def toml(value: Any) -> str:
    match value:
        case Toml():
            return str(value)
        case bool():
            return str(value).lower()
        case str():
            plain = (char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in value)
            return f'"{"".join(plain)}"'
        case dict():
            return "{ " + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return repr(value)


@pytest.fixture(scope="module")
def given_to(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return victims(tmp_path_factory)


@pytest.fixture(scope="module")
def recipe(given_to: Victims, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.toml"


@pytest.fixture
def verbs(given_to: Victims, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """verbs(verb, *arguments): the verb, on artifacts that are whole, up to where its work would begin."""
    loaded = LanguageModel(given_to.model)

    def load(source: object, **options: Any) -> LanguageModel:
        return loaded if source in ("demo", str(given_to.model)) else LanguageModel(source, **options)  # type: ignore[arg-type]

    for module in ("lm.model", "cli.pipeline", "cli.inputs"):
        monkeypatch.setattr(f"lexiscope.{module}.LanguageModel", load)
    for name in ("harvest.harvest.write_artifact", "train.run.Stream", "train.finetune.finetune"):
        monkeypatch.setattr(f"lexiscope.{name}", begin)
    for name in ("measure.scorecard.score_reconstructions", "index.build.write_artifact"):
        monkeypatch.setattr(f"lexiscope.{name}", begin)
    monkeypatch.setattr("lexiscope.measure.scorecard._baselines", lambda *_: {})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out, run = recipe.with_name("out"), given_to.run
    first = {
        "harvest": ["harvest", recipe],
        "train": ["train", recipe, "--store", run / "store"],
        "sweep": ["train", recipe, "--store", run / "store"],
        "finetune": ["finetune", run / "sae", recipe],
        "measure": ["measure", run / "sae"],
        "index": ["index", run / "sae"],
        "demo": ["demo", "--model", given_to.model, "--corpus", given_to.texts],
    }

    def call(verb: str, *arguments: object) -> Outcome:
        with in_time():
            return lexiscope(*first[verb], "--out", out, *arguments)

    return call


def text_of(verb: str, given_to: Victims) -> str:
    table = "train" if verb == "sweep" else verb
    return f"[{table}]\n{RECIPES[verb]}".replace("TEXTS", str(given_to.texts))


def check(outcome: Outcome, words: list[str], what: object) -> bool:
    """Whether it was taken; if not, that the last line is a sentence with one of the words in it."""
    assert outcome.code in (0, 2), f"{what}: {outcome}"
    if outcome.code == 0:
        return True
    *_, last = outcome.err.splitlines()
    assert sum(line.startswith("lexiscope: ") and "warning" not in line for line in outcome.err.splitlines()) == 1
    a_sentence(last)
    assert any(word in last for word in words if word), f"{what}: {last}"
    return False


NAMED = ["recipe.toml", "--set", "--grid", "grid", "members", "a sweep varies", "the sweep has", "this store holds"]
NAMED += ["no model", "no text source", "hook point", "latents", "settings needs about", "prefix", "nothing to train"]
NAMED += ["contexts of at most", "free"]
"""What a sentence names: the file, the option, or what came of a setting once it was put together with others."""


def test_the_recipes_as_they_are_would_run(verbs: Callable[..., Outcome], recipe: Path, given_to: Victims) -> None:
    for verb in RECIPES:
        recipe.write_text(text_of(verb, given_to))
        assert verbs(verb).code == 0, verb
    for verb in ("measure", "index", "demo"):
        assert verbs(verb, *(["--set", "context=32"] if verb == "demo" else [])).code == 0, verb


def test_no_changed_recipe_ends_in_anything_but_a_sentence(verbs, recipe, given_to, amount, figure) -> None:
    rng, wanted, taken = random.Random(0), amount(200, 8000), 0
    with Memory() as memory:
        for number in range(wanted):
            verb = rng.choice(list(RECIPES))
            touched: list[str] = []
            if rng.random() < 0.7:
                tree, touched = mutated(tomllib.loads(text_of(verb, given_to)), rng, MORE_KEYS, NASTY_TOML)
                lines = (
                    [f"{toml(key)} = {toml(value)}" for key, value in tree.items()]
                    if isinstance(tree, dict)
                    else [toml(tree)]
                )
                recipe.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
            else:
                recipe.write_bytes(damaged(text_of(verb, given_to).encode(), rng, PIECES))
            grid = ["--grid", rng.choice(GRIDS)] if verb in ("train", "sweep") and rng.random() < 0.1 else []
            taken += check(verbs(verb, *grid), [*NAMED, *touched], (number, recipe.read_bytes()[-600:], grid))
    assert taken
    figure("mutated recipes: tracebacks, hangs", f"0 of {wanted}", "0 of 8000")
    assert memory.factor < 2


GRIDS = [
    *("sae.k=1,2,3", "sae.k=", "=", "sae.k=99999999999999999999999,1", "sae=1,2", "optimise.lr=nan,inf"),
    *(f"sae.k={','.join(map(str, range(2000)))}", "sae.architecture=os.system,topk", "x.y=1", "sae.a.b=1", "\x1b=1"),
]
SETTINGS = {
    "measure": ["tokens", "loss_tokens", "concept_tokens", "sample_tokens", "seed", "zz"],
    "index": [*IndexConfig.model_fields, "zz"],
    "demo": [*DemoSettings.model_fields, "sae.k", "optimise.lr", "measure.tokens"],
}


def test_no_assignment_ends_in_anything_but_a_sentence(verbs, recipe, given_to, amount, figure) -> None:
    rng, wanted, taken = random.Random(1), amount(100, 3000), 0
    for number in range(wanted):
        verb = rng.choice([*RECIPES, *RECIPES, *SETTINGS])
        if verb in RECIPES:
            recipe.write_text(text_of(verb, given_to))
            tree = tomllib.loads(text_of(verb, given_to))["train" if verb == "sweep" else verb]
            key = ".".join(map(str, rng.choice(list(places(tree)))))
        else:
            key = rng.choice(SETTINGS[verb])
        if rng.random() < 0.3:
            key += "." + rng.choice([*MORE_KEYS, "a." * rng.choice([10, 3000]) + "a"])
        value = rng.choice(NASTY_TOML)
        text = f"{key}={toml(value) if rng.random() < 0.8 else value}".replace("\0", "").replace("\ud800", "")
        if text.startswith("-"):
            continue  # the shell's own business
        taken += check(verbs(verb, "--set", text), [*NAMED, *key.split(".")], (number, verb, text[:600]))
    assert taken
    figure("mutated --set: tracebacks, hangs", f"0 of {wanted}", "0 of 3000")


GROUPS: list[type[Config]] = [
    HarvestRecipe,
    TrainRecipe,
    FinetuneRecipe,
    TrainConfig,
    Recovery,
    MeasureConfig,
    IndexConfig,
]
GROUPS += [DemoSettings, BenchConfig, StoreConfig, finetune.Config, *(term.config_type for term in terms().values())]
GROUPS += [class_of(name).config_type for name in architectures()]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(
    max_examples=4000 if SOAK else 150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_value_for_any_key_of_any_settings(data: st.DataObject) -> None:
    """Oracle: the settings hold what was given, or the message names a key that was."""
    group = data.draw(st.sampled_from(GROUPS))
    values = data.draw(st.dictionaries(st.sampled_from([*group.model_fields, "zz"]), ANY, min_size=1, max_size=4))
    said = ends_well(lambda: group.read(values, "here"), (group, values))
    if said is not None:
        assert said.startswith("here: ")
        assert any(key in said for key in [*group.model_fields, "zz", "the settings"]), said
    ends_well(lambda: read_config(values, "here"), values)


ABSURD = {
    "sae.num_latents=1000000000000000000": "num_latents: input should be less than or equal to 2147483647",
    "sae.num_latents=2000000000": "a run with these settings needs about",
    "sae.expansion=1e300": "expansion 1e+300 of 16 dimensions is more than",
    "sae.k=1000000": "k is 1e+06, but there are only 256 latents",
    "optimise.batch_tokens=1000000000000": "a run with these settings needs about",
    "optimise.heldout_tokens=1" + "0" * 40: "heldout_tokens has more than 64 bits",
    "sae.architecture=hierarchical_topk --set sae.k=100000 --set sae.budgets=all": "less than or equal to 65536",
    "--grid sae.k=" + ",".join(map(str, range(1100))): "1,100 combinations, but a sweep has at most 1,000",
}


@pytest.mark.parametrize("asked", ABSURD)
def test_an_absurd_size_is_refused_before_memory_is_taken(verbs, recipe, asked: str) -> None:
    recipe.write_text('[train]\nhook = "resid_post.0"')
    arguments = asked.split() if asked.startswith("--") else ["--set", *asked.split()]
    with Memory() as memory:
        outcome = verbs("train", *arguments)
    assert outcome.code == 2
    assert ABSURD[asked] in outcome.err
    assert memory.factor < 1.5


def test_through_the_program_itself(given_to, tmp_path, amount, figure) -> None:
    """As a shell sees it: exit code 2, nothing on standard output, one line on the other, nothing on the disk."""
    rng, wanted = random.Random(2), amount(1, 40)
    for number in range(wanted):
        verb = rng.choice(["train", "harvest"])
        (tmp_path / "recipe.toml").write_bytes(damaged(text_of(verb, given_to).encode(), rng, PIECES) + b"\xff")
        command = [verb, tmp_path / "recipe.toml", "--out", tmp_path / "out"]
        command += ["--store", given_to.run / "store"] if verb == "train" else []
        ended = subprocess.run(
            [sys.executable, "-m", "lexiscope.cli.main", *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (2, ""), (number, ended)
        (line,) = ended.stderr.splitlines()
        assert line.startswith("lexiscope: "), (number, ended)
        assert not (tmp_path / "out").exists()
    figure("mutated recipes through the program: not a sentence", f"0 of {wanted}", "0 of 40")
