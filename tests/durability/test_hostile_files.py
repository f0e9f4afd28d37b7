"""Files of strangers: artifacts, models, corpora. Oracle: they are read, or refused in one sentence, within seconds, in
less than twice the memory; nothing of them ends in a traceback.

Manifests agree with the files beside them, as they would if whoever made the files had made them.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.durability.conftest import SOAK
from tests.durability.fuzz import Bench, Target, fuzz
from tests.durability.hostile import (
    NASTY,
    PIECES,
    Memory,
    Victims,
    a_sentence,
    begin,
    damaged,
    ends_well,
    in_time,
    lexiscope,
    mutated,
    reseal,
    victims,
)
from tests.durability.uses import USES, use_model, use_verified

from lexiscope.core.manifest import MANIFEST
from lexiscope.core.tensors import read_tensors
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import load

DTYPES = ["F32", "BF16", "F16", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F4", "NaN"]
HEADER = [*NASTY, *DTYPES, [2**40, 2**40], [0, 2**62], [3, 1], [-1, 4], [1e3, 2e3], [[0, 4]], {"dtype": "F32"}]
HEADER_KEYS = ["__metadata__", "W_x", "", "dtype", "shape", "data_offsets", "activations"]


@pytest.fixture(scope="module")
def given_to(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    return victims(tmp_path_factory)


@pytest.fixture(scope="module")
def bench(given_to: Victims, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(given_to.run, tmp_path_factory.mktemp("bench"))


def with_header(header: bytes, rest: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + rest


def changed_tensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header says something else, or is none."""
    size = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + size], data[8 + size :]
    tree = json.loads(header)
    names = [name for name in tree if name != "__metadata__"]
    match rng.choice(
        ["json"] * 12 + ["length", "length", "twice", "deep", "text", "cut", "more", "overlap", "overlap"]
    ):
        case "length":
            lengths = [0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1, len(data), len(data) - 8, 100_000_001]
            return with_header(header, rest, rng.choice(lengths))
        case "twice":
            again = f"{json.dumps(tree)[:-1]},{json.dumps(rng.choice(names))}:{json.dumps(tree[rng.choice(names)])}}}"
            return with_header(again.encode(), rest)
        case "deep":
            depth = rng.choice([200, 100_000])
            return with_header(b'{"a":' * depth + b"1" + b"}" * depth, rest)
        case "text":
            return with_header(damaged(header, rng, PIECES), rest)
        case "cut":
            return data[: rng.randrange(len(data))]
        case "more":
            return data + bytes(rng.choice([1, 8, 1000]))
        case "overlap":
            one, other = rng.choice(names), rng.choice(names)
            tree[one]["data_offsets"] = [at + rng.choice([-4, 0, 4]) for at in tree[other]["data_offsets"]]
        case _:
            tree, _ = mutated(tree, rng, HEADER_KEYS, HEADER)
    return with_header(json.dumps(tree).encode("utf-8", "surrogatepass"), rest)


def test_everything_is_read_as_it_was_written(bench: Bench) -> None:
    for target in bench.targets:
        bench.use(target, bench.read(target))


def test_no_header_of_tensors_breaks_a_reader(bench, given_to, tmp_path, amount, figure) -> None:
    rng, wanted, taken = random.Random(0), amount(150, 10_000), 0
    targets = [target for target in bench.targets if target.file.endswith(".safetensors")]
    with Memory() as memory:
        for number in range(wanted):
            target = rng.choice([*targets, *(target for target in targets if target.kind == "sae")] * 2 + [None])
            data = changed_tensors(
                (given_to.model / "model.safetensors").read_bytes() if target is None else bench.read(target), rng
            )
            what = (number, target, data[:400])
            (tmp_path / "state.safetensors").write_bytes(data)
            ends_well(lambda: read_tensors(tmp_path / "state.safetensors"), what)
            if target is None:
                folder = shutil.copytree(given_to.model, tmp_path / "model", dirs_exist_ok=True)
                (folder / "model.safetensors").write_bytes(data)
                said = ends_well(lambda folder=folder: use_model(folder), what)
            else:
                said = ends_well(lambda target=target, data=data: bench.use(target, data), what)
            taken += said is None
    assert taken
    figure("mutated safetensors headers: tracebacks, hangs", f"0 of {wanted}", "0 of 10000")
    assert memory.factor < 2


@pytest.mark.parametrize(
    "file", ["sae.safetensors", *(["rows/tokens.safetensors", "statistics.safetensors"] if SOAK else [])]
)
def test_a_header_of_a_hundred_megabytes(bench, file: str) -> None:
    """Just below what safetensors reads at all, and just above."""
    target = next(target for target in bench.targets if target.file == file)
    for size in (99_000_000, 101_000_000) if SOAK else (99_000_000,):
        data = with_header(b'{"x":"' + b"y" * (size - 8) + b'"}', b"")
        with Memory() as memory:
            assert ends_well(lambda data=data: bench.use(target, data)) is not None
        assert memory.peak - memory.before < 5 * size


def sealed(values: object) -> bytes:
    """A manifest with a seal of its own, whatever it holds."""
    head = json.dumps(values, indent=1).removesuffix("\n}")
    return f'{head},\n "manifest_sha256": "{hashlib.sha256(head.encode()).hexdigest()}"\n}}\n'.encode()


def changed_file(target: Target, data: bytes, rng: random.Random) -> bytes:
    if not target.file.endswith(".json") or rng.random() < 0.25:
        return damaged(data, rng, PIECES)
    tree = json.loads(data)
    tree.pop("manifest_sha256", None)
    tree, _ = mutated(tree, rng, ["zz", "", "../x", "model", "sae", "heldout", "files", "W"])
    return sealed(tree) if target.file == MANIFEST else json.dumps(tree).encode()


def test_no_other_file_of_an_artifact_breaks_a_reader(bench, amount, figure) -> None:
    rng, wanted, taken = random.Random(1), amount(100, 5000), 0
    targets = [target for target in bench.targets if not target.file.endswith(".safetensors")]
    with Memory() as memory:
        for number in range(wanted):
            target = rng.choice([*targets, *(target for target in targets if target.file == MANIFEST)])
            data = changed_file(target, bench.read(target), rng)
            taken += ends_well(lambda target=target, data=data: bench.use(target, data), (number, target)) is None
    assert taken
    figure("mutated manifests, tables, scorecards: tracebacks", f"0 of {wanted}", "0 of 5000")
    assert memory.factor < 2


def test_verify_does_not_stumble_over_what_it_is_to_report(given_to, tmp_path, amount) -> None:
    rng = random.Random(2)
    for number in range(amount(30, 1000)):
        kind = rng.choice(list(USES))
        folder = shutil.copytree(given_to.run / kind, tmp_path / kind, dirs_exist_ok=True)
        file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
        file.write_bytes(changed_file(Target(kind, file.name), file.read_bytes(), rng))
        ends_well(lambda folder=folder: use_verified(folder), (number, file))


FUZZED = 3000 if SOAK else 40


@settings(
    max_examples=FUZZED, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), raw=st.binary(max_size=64))
def test_the_target_for_fuzzers(bench: Bench, monkeypatch, seed: int, raw: bytes) -> None:
    """On seeded changes of real files, as a fuzzer would come to them, and on a few bytes of anything."""
    monkeypatch.setattr("tests.durability.fuzz._bench", lambda: bench)
    rng = random.Random(seed)
    number = rng.randrange(len(bench.targets))
    seeded = damaged(bench.read(bench.targets[number]), rng, PIECES)
    with in_time():
        fuzz(bytes([number]) + (raw if rng.random() < 0.1 else seeded))


def lie(folder: Path, file: str, sql: str) -> None:
    """Write a table again as a query says, and let the manifest agree."""
    with duckdb.connect() as connection:
        query = sql.format(t=f"read_parquet('{folder / file}')")
        connection.execute(f"COPY ({query}) TO '{folder / file}.new' (FORMAT parquet)")
    (folder / f"{file}.new").replace(folder / file)
    reseal(folder)


FEATURES, FIRINGS = "features/0000000000.parquet", "firings/0000000000.parquet"
LIES = {
    (
        "index",
        FEATURES,
        "SELECT * REPLACE (list_concat(frequent_tokens, [1]) AS frequent_tokens) FROM {t}",
    ): 0,
    ("index", FEATURES, "SELECT * REPLACE ([2147483647, -5]::INTEGER[] AS promoted_tokens) FROM {t}"): 0,
    ("index", FEATURES, "SELECT * REPLACE (NULL::FLOAT[] AS kind_shares) FROM {t}"): "is damaged",
    ("index", FEATURES, "SELECT * REPLACE ('nan'::FLOAT AS max_activation) FROM {t}"): 0,
    ("index", FEATURES, "SELECT * REPLACE (99999999999::BIGINT AS max_row) FROM {t}"): "is damaged",
    ("index", FEATURES, "SELECT * REPLACE ([3, -9]::INTEGER[] AS neighbour_features) FROM {t}"): "is damaged",
    ("index", FEATURES, "SELECT * REPLACE (NULL::BIGINT AS firings) FROM {t}"): "is damaged",
    ("index", FEATURES, "SELECT * REPLACE (7::INTEGER AS feature) FROM {t}"): "is damaged",
    ("index", FEATURES, "SELECT * FROM {t} LIMIT 3"): "does not fit its manifest",
    ("index", FEATURES, "SELECT t.* FROM {t} t, range(2000)"): "does not fit its manifest",
    ("index", FEATURES, "SELECT feature FROM {t}"): "has not the columns",
    ("index", FIRINGS, 'SELECT * REPLACE ("row" + 1000000 AS "row") FROM {t}'): "is damaged",
    ("index", FIRINGS, 'SELECT * REPLACE (-"row" AS "row") FROM {t}'): "is damaged",
    ("index", FIRINGS, 'SELECT * REPLACE (NULL::BIGINT AS "row") FROM {t}'): "is damaged",
    ("index", FIRINGS, "SELECT * REPLACE ('nan'::FLOAT AS activation) FROM {t}"): "is damaged",
    ("index", FIRINGS, "SELECT * REPLACE (0::FLOAT AS activation) FROM {t}"): 0,
    ("index", FIRINGS, "SELECT * REPLACE ('x' AS activation) FROM {t}"): "is damaged",
    ("index", FIRINGS, "SELECT * FROM {t} ORDER BY activation"): "is damaged",
    ("index", FIRINGS, "SELECT feature FROM {t}"): "is damaged",
    ("index", FIRINGS, "SELECT * FROM {t} LIMIT 0"): 0,
    ("index", "tokens.parquet", "SELECT * FROM {t} LIMIT 2"): "is damaged",
    (
        "index",
        "tokens.parquet",
        "SELECT 0::INTEGER AS token, 'x' AS piece, 0::BIGINT AS occurrences FROM range(20000000)",
    ): "does",
    ("index", "tokens.parquet", "SELECT * REPLACE (repeat('x', 70000) AS piece) FROM {t}"): "does not fit its manifest",
    ("index", "documents.parquet", "SELECT * REPLACE (NULL::VARCHAR AS id) FROM {t}"): 0,
    ("store", "documents.parquet", "SELECT * REPLACE (-1::BIGINT AS tokens) FROM {t}"): "does not fit its store",
    ("store", "documents.parquet", "SELECT * REPLACE (NULL::BOOLEAN AS heldout) FROM {t}"): "does not fit its store",
    ("store", "documents.parquet", "SELECT * REPLACE ('perhaps' AS heldout) FROM {t}"): "is damaged",
    ("store", "documents.parquet", "SELECT * REPLACE ([1, 2] AS id) FROM {t}"): None,
    ("store", "documents.parquet", "SELECT * FROM {t} LIMIT 3"): "rows of documents that it does not list",
    ("store", "documents.parquet", "SELECT t.* FROM {t} t, range(5000)"): "does not fit its store",
    ("store", "documents.parquet", "SELECT * REPLACE (repeat('x', 70000) AS id) FROM {t}"): "does not fit its store",
    ("store", "documents.parquet", "SELECT id FROM {t}"): "is damaged",
}
"""A table of a stranger, and what is said: 0 where it may be taken or not, None where it is taken."""


@pytest.mark.parametrize("told", LIES, ids=lambda told: " ".join(told)[:80])
def test_tables_of_the_right_form_that_contradict_one_another(given_to, tmp_path, told) -> None:
    kind, file, sql = told
    folder = shutil.copytree(given_to.run / kind, tmp_path / kind)
    lie(folder, file, sql)
    with Memory() as memory:
        said = ends_well(lambda: USES[kind](folder))
    expected = LIES[told]
    assert expected == 0 or (said is None if expected is None else said is not None and str(expected) in said), said
    assert memory.factor < 2


def test_an_autoencoder_that_claims_to_be_huge(given_to, tmp_path) -> None:
    """10^18 weights in the manifest, four kilobytes in the file."""
    for claim in ({"num_latents": 2**31 - 1}, {"expansion": 1e8}, {"num_latents": 10**18}):
        folder = shutil.copytree(given_to.run / "sae", tmp_path / "sae", dirs_exist_ok=True)
        manifest = json.loads((folder / MANIFEST).read_text())
        kept = {
            key: value for key, value in manifest["config"]["sae"].items() if key not in ("expansion", "num_latents")
        }
        reseal(
            folder, {"config": {**manifest["config"], "sae": {**kept, **claim}, "width": 2**30, "output_width": 2**30}}
        )
        with Memory() as memory:
            said = ends_well(lambda folder=folder: load(folder))
        assert said is not None
        assert "sae.safetensors and its settings do not make a TopK" in said
        assert memory.peak - memory.before < 50e6


@pytest.fixture
def no_work(given_to, monkeypatch) -> None:
    """Verbs end where their work would begin."""
    loaded = LanguageModel(given_to.model)
    monkeypatch.setattr("lexiscope.cli.inputs.LanguageModel", lambda *_, **__: loaded)
    for name in (
        "train.run.Stream",
        "train.finetune.finetune",
        "measure.scorecard._baselines",
        "index.build.write_artifact",
    ):
        monkeypatch.setattr(f"lexiscope.{name}", begin)


def test_no_artifact_of_a_stranger_breaks_a_verb(given_to, tmp_path, no_work, amount, figure) -> None:
    """Folders that are done, to be shown again, and folders to go on from."""
    run, rng, wanted = shutil.copytree(given_to.run, tmp_path / "run"), random.Random(4), amount(40, 2000)
    few = ["tokens=100", "loss_tokens=60", "concept_tokens=200", "sample_tokens=300"]
    short = ["hook=resid_post.0", "sae.num_latents=32", "sae.k=4", "optimise.tokens=2000", "optimise.batch_tokens=500"]
    given_store = ["--store", run / "store"]
    verbs = [
        ["measure", run / "sae", *given_store, *(part for item in few for part in ("--set", item))],
        ["measure", run / "sae", *given_store, "--out", tmp_path / "out"],
        ["index", run / "sae", *given_store],
        ["index", run / "sae", *given_store, "--out", tmp_path / "out"],
        ["train", *given_store, "--out", run / "sae", *(part for item in short for part in ("--set", item))],
        ["train", *given_store, "--out", tmp_path / "out", "--set", "hook=resid_post.0"],
        ["finetune", run / "sae", *given_store, "--out", tmp_path / "out", "--set", "context=32"],
        ["verify", run],
    ]
    for number in range(wanted):
        kind = rng.choice(list(USES))
        file = run / kind / MANIFEST
        whole = file.read_bytes()
        tree = json.loads(whole)
        tree.pop("manifest_sha256")
        tree, _ = mutated(tree, rng, ["zz", "model", "heldout", "choices", "sources"])
        file.write_bytes(sealed(tree))
        verb = rng.choice(verbs)
        with in_time():
            outcome = lexiscope(*verb)
        file.write_bytes(whole)
        assert outcome.code in ((0, 1, 2) if verb[0] == "verify" else (0, 2)), (number, kind, verb[0], outcome)
        if outcome.code:
            a_sentence(outcome.err.splitlines()[-1])
    figure("verbs on artifacts of strangers: tracebacks", f"0 of {wanted}", "0 of 2000")
