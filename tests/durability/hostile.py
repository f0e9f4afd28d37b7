"""What strangers hand over, and how it must end: with a result, or with one sentence and exit code 2, soon."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import json
import random
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lexiscope import saes
from lexiscope.cli import console
from lexiscope.cli.main import main
from lexiscope.core.errors import LexiscopeError
from lexiscope.core.manifest import MANIFEST, write_sealed
from lexiscope.harvest.harvest import harvest
from lexiscope.index.build import build_index, build_part
from lexiscope.index.parts import Share
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.scorecard import MeasureConfig, measure
from lexiscope.measure.worlds.planted.make import Config as PlantConfig
from lexiscope.measure.worlds.planted.make import plant
from lexiscope.saes import topk
from lexiscope.steer.edit import save_edit
from lexiscope.steer.interventions import Ablate, Clamp
from lexiscope.steer.recipe import Recipe
from lexiscope.steer.spending.frugal import frugal
from lexiscope.steer.spending.record import recording
from lexiscope.steer.spending.rules import parse
from lexiscope.text import generators
from lexiscope.text.corpus import Corpus
from lexiscope.train.config import TrainConfig
from lexiscope.train.run import train

LONGEST_SECONDS = 5.0
LONGEST_MESSAGE = 4200
KINDS = ("store", "sae", "scorecard", "index", "index-part", "planted", "record", "edit")

NUMBERS = [0, 1, -1, 2, 3, 31, 2**31, 2**63 - 1, 2**63, 10**30, -(10**30), 0.0, -0.5, 0.5, 5e-324, 1e18, 1e308, -1e308]
TEXTS = [
    *(
        "",
        "x",
        "x" * 5000,
        "\0",
        "\x1b[2J\x07\r",
        "a\nb",
        "\u202eabc",
        "\ud800",
        "\U0001f642" * 40,
        "../../x",
        "/etc/passwd",
    ),
    *(
        "os.system",
        "nan",
        "1e5",
        "1" + "0" * 40,
        "all",
        "none",
        "None",
        "topk",
        "pca",
        "F32",
        "I64",
        "resid_post.0",
        "a.b",
    ),
]
SHAPES = [
    [],
    {},
    [[]],
    [1, "a"],
    [0] * 2000,
    {"": 1},
    {"a": {"b": 1}},
    [{}],
    ["", ""],
    [10**18, 1],
    {"name": "auxk"},
    True,
]
PIECES = [b"\xff", b"\0", b"{", b"}", b"[", b'"', b"\xed\xa0\x80", b"9" * 30, b"PAR1", b"1e999", b"\\u0000", b"NaN"]
"""What bytes of a file are mixed with."""
NASTY: list[Any] = [*NUMBERS, *TEXTS, *SHAPES]


class Hang(BaseException):
    """Nothing in the package may catch it."""


@contextlib.contextmanager
def in_time(seconds: float = LONGEST_SECONDS) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def a_sentence(message: str) -> None:
    """What a person gets to read: one line that any terminal can show."""
    assert message
    assert len(message) < LONGEST_MESSAGE, message[:300]
    assert message.isprintable(), repr(message[:300])


def ends_well(action: Callable[[], object], what: object = "") -> str | None:
    """None if it was taken; else what was said."""
    try:
        with in_time():
            action()
    except LexiscopeError as error:
        assert error.exit_code == 2, f"{what}: {error}"
        a_sentence(str(error))
        return str(error)
    except Hang:
        pytest.fail(f"no answer after {LONGEST_SECONDS} s: {what}\n{traceback.format_exc()[-1500:]}")
    except BaseException as error:  # noqa: BLE001  a panic of a library is no Exception
        pytest.fail(f"{type(error).__name__}: {what}\n{traceback.format_exc()[-1500:]}")
    return None


class Memory:
    """Resident memory while the block runs, as the system counts it.

    Attributes:
        before: when it began.
        peak: at its most.
    """

    before = peak = 0

    def __enter__(self) -> Self:
        if Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            self.before = self._now("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self.before:
            self.peak = self._now("VmHWM")

    @property
    def factor(self) -> float:
        return self.peak / max(self.before, 1)

    def _now(self, name: str) -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split(f"{name}:")[1].split()[0])


class Outcome(NamedTuple):
    code: int
    err: str


class Taken(BaseException):
    """A verb has read all that it was given, and would begin its work."""


def begin(*_: object, **__: object) -> None:
    raise Taken


def lexiscope(*arguments: object) -> Outcome:
    """Run the program in this process, as from a shell; code 0 also where it would begin its work."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("sys.argv", ["lexiscope", *map(str, arguments)])
        patch.setattr(console.errors, "file", err)
        patch.setattr(console.output, "file", out)
        try:
            main()
        except SystemExit as end:
            return Outcome(int(end.code or 0), err.getvalue())
        except Taken:
            pass
    return Outcome(0, err.getvalue())


class Victims(NamedTuple):
    """A model, texts, and what the stages make of them; to be copied before they are changed."""

    model: Path
    texts: Path
    run: Path


def victims(factory: pytest.TempPathFactory) -> Victims:
    """Made once in a session, whatever file asks first."""
    return make_victims(factory.getbasetemp() / "victims")


@functools.cache
def make_victims(root: Path) -> Victims:
    root.mkdir(exist_ok=True)
    model, texts, run = write_model(root / "model"), root / "texts", root / "run"
    texts.mkdir()
    for name in ("quotes", "records"):
        for number, page in zip(range(40), generators.pages(name, 0), strict=False):
            (texts / f"{name}{number}.txt").write_text(page)
    loaded = LanguageModel(model)
    store = harvest(loaded, Corpus(texts), ["resid_post.0", "resid_post.1"], out=run / "store", tokens=1500, context=32)
    settings = TrainConfig(tokens=2000, batch_tokens=500, heldout_tokens=100)
    sae = train(store, topk.Config(num_latents=32, k=4), settings, hook="resid_post.0", out=run / "sae")
    few = MeasureConfig(tokens=100, loss_tokens=60, concept_tokens=200, sample_tokens=300)
    measure(sae, loaded, store, config=few, out=run / "scorecard")
    build_index(sae, loaded, store, out=run / "index")
    build_part(sae, loaded, store, Share(1, 1), out=run / "index-part")
    plant_little(root / "long", texts, run / "planted")
    steer_little(loaded, run)
    return Victims(model, texts, run)


def steer_little(model: LanguageModel, run: Path) -> None:
    """A record and an edit."""
    sae = saes.load(run / "sae")
    spending = parse("k=2")
    with recording(run / "record", model, sae, spending) as record, frugal(model, sae, spending, record):
        model.generate("hello world, a", max_new_tokens=3)
    save_edit(run / "edit", Recipe((Clamp(features=(1, 2), to=3), Ablate(features=3))), model, sae)


def plant_little(folder: Path, texts: Path, out: Path) -> None:
    """A planted pair of the tiny model; prompts are up to a hundred bytes, and so many tokens."""
    settings = write_model(folder) / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_position_embeddings": 256}))
    sizes = {"task_steps": 1, "steps": 1, "pages": 2, "rows": 2, "context": 64, "prompts": 2, "heldout_tokens": 100}
    plant(PlantConfig(plant="bias", model=str(folder), corpus=str(texts), **sizes), out=out)


def write_model(folder: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"<s>": 0} | {piece: n + 1 for n, piece in enumerate(alphabet)}, []))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    sizes = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 64}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "tie_word_embeddings": True}
    LlamaForCausalLM(LlamaConfig(**sizes, **layers, bos_token_id=0, eos_token_id=0, pad_token_id=0)).save_pretrained(
        folder
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<s>", "pad_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def reseal(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """Let the manifest agree with the files as they are now, as somebody would who made them."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest.pop("manifest_sha256", None)
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_sealed(folder / MANIFEST, manifest | (changes or {}))


def places(tree: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where everything in nested tables and lists is."""
    yield here
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from places(value, (*here, key))


def at(tree: Any, place: tuple[Any, ...]) -> Any:
    return functools.reduce(lambda inner, key: inner[key], place, tree)


def put(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with one value changed."""
    if not place:
        return value
    tree = copy.copy(tree)
    tree[place[0]] = put(tree[place[0]], place[1:], value)
    return tree


def mutated(tree: Any, rng: random.Random, keys: list[str], nasty: list[Any] = NASTY) -> tuple[Any, list[str]]:
    """Another value, key or item in one to three places, or one less; and the keys that were touched."""
    touched: list[str] = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not isinstance(tree, dict | list):
            break
        place = rng.choice(list(places(tree)))
        here, kind = at(tree, place), rng.random()
        touched += map(str, place)
        if kind < 0.65 or not isinstance(here, dict | list):
            tree = put(tree, place, rng.choice(nasty))
        elif isinstance(here, list):
            tree = put(tree, place, [*here, rng.choice(nasty)] if kind < 0.85 else here[:-1])
        elif kind < 0.85 or not here:
            key = rng.choice(keys)
            touched.append(key)
            tree = put(tree, place, {**here, key: rng.choice(nasty)})
        else:
            lost = rng.choice(list(here))
            touched.append(lost)
            tree = put(tree, place, {key: value for key, value in here.items() if key != lost})
    return tree, touched


def damaged(data: bytes, rng: random.Random, pieces: list[bytes]) -> bytes:
    """Bytes changed, cut off, lost, repeated or put in between."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 40])):
        if not changed:
            break
        here, kind = rng.randrange(len(changed)), rng.randrange(7)
        if kind < 2:
            changed[here] = rng.randrange(256)
        elif kind == 2 and rng.random() < 0.4:
            del changed[here:]
        elif kind == 3:
            del changed[here : here + rng.choice([1, 4, 20])]
        elif kind == 4:
            changed[here:here] = changed[: rng.choice([1, 8, 100])]
        else:
            changed[here:here] = rng.choice(pieces)
    return bytes(changed)
