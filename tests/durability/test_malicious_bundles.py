"""Folders made to run code on whoever opens them. Oracle: what any of the code would make, which is never there;
a socket that nobody opens; and an error that is a sentence, or a result without what was brought along.

Careless readers show that the bombs are bombs.
"""

from __future__ import annotations

import ast
import io
import pickle
import re
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.durability.bundles import as_numpy, as_torch, bundles, code, pickled
from tests.durability.conftest import SOAK
from tests.durability.hostile import Victims, a_sentence, begin, ends_well, in_time, lexiscope, victims
from tests.durability.uses import USES, use_corpus, use_model, use_verified

import lexiscope as package
from lexiscope.core.errors import InputError
from lexiscope.lm import loading
from lexiscope.web.folder.library import Library

LEAST = 50


class Called(BaseException):
    """Somebody opened a connection, or started a program."""


@pytest.fixture(scope="module")
def given_to(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return victims(tmp_path_factory)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No network and no programs; what was tried is noted, and nothing may catch it."""
    tried: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        tried.append(arguments[1:])
        raise Called(arguments[1:])

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    for name in ("train.run.Stream", "train.finetune.finetune", "measure.scorecard._baselines"):
        monkeypatch.setattr(f"lexiscope.{name}", begin)
    for name in ("index.build.write_artifact", "harvest.harvest.write_artifact"):
        monkeypatch.setattr(f"lexiscope.{name}", begin)
    return tried


def test_the_bombs_are_bombs(tmp_path) -> None:
    careless: list[Callable[[Path], object]] = [
        lambda mark: pickle.loads(pickled(mark)),
        lambda mark: torch.load(io.BytesIO(as_torch(mark)), weights_only=False),
        lambda mark: np.load(io.BytesIO(as_numpy(mark)), allow_pickle=True)["weight"],
        lambda mark: exec(code(mark)),
    ]
    for number, read in enumerate(careless):
        read(tmp_path / str(number))
        assert (tmp_path / str(number)).exists(), number


def readers(folder: Path) -> dict[str, Callable[[], object]]:
    """Every way in from Python."""
    return {
        "LanguageModel": lambda: use_model(folder),
        **{kind: lambda use=use: use(folder) for kind, use in USES.items()},
        "Corpus": lambda: use_corpus(folder),
        "Library": lambda: [dictionary.scorecard for dictionary in Library(folder).dictionaries()],
        "verify": lambda: use_verified(folder),
    }


def verbs(folder: Path, given_to: Victims) -> dict[str, list[object]]:
    """Every way in from the command line."""
    out, short = ["--out", folder.parent / "out"], ["--set", "context=32"]
    sae, store = given_to.run / "sae", given_to.run / "store"
    return {
        "harvest --model": ["harvest", "--model", folder, "--corpus", given_to.texts, *short, *out],
        "harvest --corpus": ["harvest", "--model", given_to.model, "--corpus", folder, *short, *out],
        "harvest RECIPE": ["harvest", folder / "recipe.toml", *out],
        "train RECIPE": ["train", folder / "recipe.toml", "--store", store, *out],
        "train --store": ["train", "--store", folder, "--set", "hook=resid_post.0", *out],
        "measure": ["measure", folder, "--store", store, *out],
        "measure --store": ["measure", sae, "--store", folder, *out],
        "measure --model": ["measure", sae, "--store", store, "--model", folder, *out],
        "index": ["index", folder, "--store", store, *out],
        "finetune": ["finetune", folder, "--store", store, *short, *out],
    }


OWN = {
    "model": ["LanguageModel", "lexiscope harvest --model"],
    "sae": ["sae", "verify", "lexiscope measure"],
    "store": ["store", "verify", "lexiscope train --store", "lexiscope measure --store"],
    "index": ["index", "Library", "verify"],
    "scorecard": ["scorecard", "verify"],
    "corpus": ["Corpus", "lexiscope harvest --corpus"],
    "recipe": ["lexiscope harvest RECIPE", "lexiscope train RECIPE"],
}
"""The ways in that each is made for. In the full profile all are tried with all."""


def test_no_bundle_runs_reads_outside_or_calls(given_to, alone, tmp_path, figure) -> None:
    found = bundles(given_to)
    assert len({(bundle.kind, bundle.name) for bundle in found}) == len(found) >= LEAST
    for number, bundle in enumerate(found):
        folder = tmp_path / str(number) / "bundle"
        mark = folder.with_name("mark")
        folder.parent.mkdir()
        bundle.make(folder, mark)
        ways = {name: partial(ends_well, read, bundle[:2]) for name, read in readers(folder).items()}
        ways |= {f"lexiscope {name}": partial(end_of, verb) for name, verb in verbs(folder, given_to).items()}
        said = []
        for name in ways if SOAK else OWN[bundle.kind]:
            sentence = ways[name]()
            said += [sentence or ""] if name in OWN[bundle.kind] else []
            assert not mark.exists(), (bundle.kind, bundle.name, name)
            assert not alone, (bundle.kind, bundle.name, name, alone)
        expected = bundle.said or ""
        assert any(re.search(expected, sentence) for sentence in said), (bundle.kind, bundle.name, said)
        shutil.rmtree(folder.parent)
    figure("malicious bundles: code run, calls made", f"0 of {len(found)}", "0 of 50 or more")


def end_of(verb: list[object]) -> str | None:
    """None if it would begin its work; else what was said."""
    with in_time():
        outcome = lexiscope(*verb)
    assert outcome.code in (0, 2), (verb, outcome)
    if outcome.code == 0:
        return None
    a_sentence(outcome.err.splitlines()[-1])
    return outcome.err.splitlines()[-1]


def test_a_name_on_the_hub_is_asked_for_only_when_a_person_gave_it(given_to, alone, tmp_path) -> None:
    with pytest.raises(Called):
        loading.find_folder("someone/evil", None)
    alone.clear()
    with pytest.raises(InputError, match="nothing is fetched because a manifest names it"):
        loading.find_folder("someone/evil", None, fetch=False)
    assert not alone


# What the code says of itself

SOURCES = sorted(Path(package.__file__).parent.rglob("*.py"))
MAY_START_PROGRAMS = {
    "saes/kernels/native/build.py",
    "bench/process.py",
    "bench/peers/__init__.py",
    "web/jobs/process.py",
}
"""The user's own compiler, interpreters that the user named, and this program with one of three verbs."""

NEVER_IMPORTED = {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "tarfile", "zipfile", "yaml"}
NEVER_CALLED = {"eval", "exec", "compile", "os.system", "np.load", "torch.load", "torch.hub.load", "torch.jit.load"}


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_the_code_unpickles_nothing_and_trusts_nobody() -> None:
    for file in SOURCES:
        name = file.relative_to(Path(package.__file__).parent).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & NEVER_IMPORTED, name
        assert "subprocess" not in imported or name in MAY_START_PROGRAMS, name
        for called, node in calls(tree):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in NEVER_CALLED, (name, called)
            assert given.get("trust_remote_code", "False") == given.get("allow_pickle", "False") == "False", (
                name,
                called,
            )
            if called.endswith((".from_pretrained", ".from_config")):
                assert "trust_remote_code" in given, (name, called)
                assert called.endswith(".from_config") or given.get("local_files_only") == "True", (name, called)
            if called == "AutoModelForCausalLM.from_pretrained":
                assert given["use_safetensors"] == "True"


def test_releases_that_run_code_from_data_are_not_taken() -> None:
    """CVE-2025-32434 (torch before 2.6), CVE-2026-4372 and -5241 (transformers before 5.3)."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least = dict(re.match(r"([a-z0-9-]+)>=([0-9.]+)", item).groups() for item in project["dependencies"])  # type: ignore[union-attr]
    assert [int(part) for part in least["torch"].split(".")] >= [2, 6]
    assert [int(part) for part in least["transformers"].split(".")] >= [5, 3]
    assert loading.MINIMUM_TRANSFORMERS >= (5, 3)
