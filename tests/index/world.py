"""A small world with known truth: real Python source, a word tokenizer, and a dictionary whose features are predicates.

The "activations" of the store are the codes themselves, so that the autoencoder encodes by doing nothing: what an index
must say about a feature follows from its predicate and the text.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lexiscope.core.artifact import Artifact
from lexiscope.core.codes import SparseCodes
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.documents import DocumentInfo
from lexiscope.harvest.store import StoreChunk
from lexiscope.lm.hooks import Pass
from lexiscope.text.tokenizer import Encoded

HOOK = HookPoint.parse("resid_post.2")
WRITTEN = HookPoint.parse("resid_post.3")
CONTEXT = 64
MODEL_WIDTH = 16
HOSTILE = '"><img src=x onerror=alert(1)>'
PROSE = """The sparrow, said Mary, had been on the sill since "Tuesday or so", and nobody had the heart to shoo it away.
When John and Mary went to the market, John gave a pear to Mary. The keys that the old gardener keeps are on the table.
She counted them: one, two, three, seven; then she put the lid on the box and wrote the year, 1897, on a paper label.
"""
ATTACK = "<script>alert(1)</script> \u202egnp.exe\u202c \u200bzero</style>\t\x00\ud83d " + HOSTILE


class Word(NamedTuple):
    text: str
    before: str
    inside_string: bool


PREDICATES: list[tuple[str, Callable[[Word], float]]] = [
    ("never", lambda word: 0.0),
    ("always a little", lambda word: 0.1 + 0.001 * (len(word.text) % 7)),
    ("def", lambda word: 6.0 if word.text.strip() == "def" else 0.0),
    ("after an opening parenthesis", lambda word: 3.0 + len(word.text) / 8 if word.before.endswith("(") else 0.0),
    ("opening parenthesis", lambda word: 2.0 if word.text.strip() == "(" else 0.0),
    ("inside a string", lambda word: 1.0 + len(word.text) / 10 if word.inside_string else 0.0),
    ("indentation", lambda word: len(word.text) / 4 if word.text.isspace() and "\n" in word.text else 0.0),
    ("capital", lambda word: 1.5 if word.text.strip()[:1].isupper() else 0.0),
    ("digits", lambda word: 1.0 + float(len(word.text)) if word.text.strip().isdigit() else 0.0),
    ("underscore", lambda word: word.text.count("_") / 2),
    ("long word", lambda word: max(0.0, len(word.text.strip()) - 7) / 2),
    ("return or raise", lambda word: 5.0 if word.text.strip() in {"return", "raise"} else 0.0),
    ("self", lambda word: 4.0 if word.text.strip() == "self" else 0.0),
    ("comma", lambda word: 0.5 + 0.1 * (len(word.before) % 9) if word.text == "," else 0.0),
    ("a name", lambda word: 7.0 if word.text.strip() in {"Mary", "John"} else 0.0),
    ("markup", lambda word: 9.0 if "<" in word.text else 0.0),
    *[
        (
            f"starts with {letter}",
            lambda word, letter=letter: 1.0 + (len(word.text) % 5) / 4 if word.text.strip().startswith(letter) else 0.0,
        )
        for letter in "abcdefghijklmnopqrstuvwxyz"
    ],
]
NUM_LATENTS = len(PREDICATES)


@functools.cache
def codes_of(word: Word) -> list[float]:
    return [fires(word) for _, fires in PREDICATES]


class WordTokenizer:
    """Words with the space before them, runs of marks, runs of blanks."""

    bos_id, eos_id, pad_id = None, None, 0
    special_ids: frozenset[int] = frozenset()
    fingerprint = "words"

    def __init__(self, texts: list[str]) -> None:
        pieces = sorted({piece for text in texts for piece in self.split(text)})
        self.pieces = ["?", *pieces]
        self._ids = {piece: number for number, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)

    @staticmethod
    def split(text: str) -> list[str]:
        return re.findall(r" ?\w+|</?\w+>| ?[^\w\s]|\s+", text)

    def encode(self, text: str) -> Encoded:
        found = list(re.finditer(r" ?\w+|</?\w+>| ?[^\w\s]|\s+", text))
        ids = [self._ids.get(match.group(), 0) for match in found]
        return Encoded(ids, [match.start() for match in found], [match.end() for match in found])

    def piece(self, token: int) -> str:
        return self.pieces[token]


class World:
    """Documents, tokens and the activation of every feature on every token."""

    def __init__(self) -> None:
        sources = {
            "stdlib:textwrap.py": ("code", inspect.getsource(textwrap)),
            "stdlib:json/__init__.py": ("code", inspect.getsource(json)),
            "stdlib:json.dumps": ("docs", inspect.getdoc(json.dumps) or ""),
            "prose:sparrow": ("prose", PROSE),
            HOSTILE: ("generated", ATTACK),
        }
        self.tokenizer = WordTokenizer([text for _, text in sources.values()])
        self.documents = [
            DocumentInfo(name, kind, "PSF-2.0" if kind == "code" else "unknown", 0, heldout=number % 4 == 3)
            for number, (name, (kind, _)) in enumerate(sources.items())
        ]
        tokens, documents, positions, contexts, codes = [], [], [], [], []
        context = -1
        for number, (_, text) in enumerate(sources.values()):
            words = self.words(text)
            for position, word in enumerate(words):
                context += position % CONTEXT == 0
                tokens.append(self.tokenizer._ids[word.text])
                documents.append(number)
                positions.append(position)
                contexts.append(context)
                codes.append(codes_of(word))
        self.tokens_T = np.array(tokens, dtype=np.int32)
        self.documents_T = np.array(documents, dtype=np.int32)
        self.positions_T = np.array(positions, dtype=np.int32)
        self.contexts_T = np.array(contexts, dtype=np.int32)
        self.codes_TF = np.array(codes, dtype=np.float32)

    def words(self, text: str) -> list[Word]:
        words, before, quoted = [], "", False
        for piece in self.tokenizer.split(text):
            words.append(Word(piece, before, quoted))
            quoted ^= '"' in piece or "'" in piece
            before = piece
        return words


class Store:
    """Stands in for an ActivationStore."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        sources = {"model": {"name": "words", "fingerprint": "model of words"}, "corpus": {"source": "the world"}}
        with write_artifact(folder, "store", config={"world": 1}, sources=sources) as draft:
            (draft.path / "nothing.txt").write_text("-")
        from lexiscope.core.artifact import open_artifact

        self.artifact = open_artifact(folder, "store")
        self.hooks = [HOOK]
        self.tokens_T, self.contexts_T = world.tokens_T, world.contexts_T
        self.documents_T, self.positions_T = world.documents_T, world.positions_T
        self.num_tokens = len(world.tokens_T)

    def documents(self) -> list[DocumentInfo]:
        return self._world.documents

    def width(self, hook: HookPoint) -> int:
        if hook != HOOK:
            raise InputError(f"the store holds {HOOK}, not {hook}")
        return NUM_LATENTS

    def check_model(self, model: Any) -> None:
        if model.fingerprint != "model of words":
            raise InputError("the store was harvested from another model")

    def check_same_model(self, artifact: Artifact) -> None:
        assert not artifact.manifest["sources"]  # the autoencoders of these tests name no model

    def chunks(self, hook: HookPoint, *, chunk_tokens: int = 100, start: int = 0) -> Iterator[StoreChunk]:
        for first in range(start, self.num_tokens, chunk_tokens):
            yield StoreChunk(first, torch.from_numpy(self._world.codes_TF[first : first + chunk_tokens]))


class Dictionary:
    """Stands in for a SparseAutoencoder: an activation is its own code. It writes one layer on, without error."""

    def __init__(self) -> None:
        self.reads, self.writes = (HOOK,), (WRITTEN,)
        self.width = self.num_latents = NUM_LATENTS
        self.output_width, self.device = MODEL_WIDTH, torch.device("cpu")
        self.artifact: Any = None
        generator = torch.Generator().manual_seed(5)
        self.directions_FD = torch.randn(NUM_LATENTS, MODEL_WIDTH, generator=generator)

    def encode(self, x_TD: torch.Tensor) -> SparseCodes:
        return SparseCodes.from_dense(x_TD)

    def encoder(self) -> Callable[[torch.Tensor], SparseCodes]:
        return self.encode

    def reader(self, features: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x_TD: x_TD[:, features]

    def decode(self, codes: SparseCodes) -> torch.Tensor:
        return codes.dense() @ self.directions_FD

    def reconstruct(self, x_TD: torch.Tensor, codes: SparseCodes) -> torch.Tensor:
        return self.decode(codes)


class Model:
    """Stands in for a LanguageModel: reads the codes of a text, adds their directions, unembeds by a random matrix."""

    name, fingerprint, bos, max_context, width = "words", "model of words", "never", 512, MODEL_WIDTH

    def __init__(self, world: World) -> None:
        self._world = world
        self.tokenizer = world.tokenizer
        self.vocab_size = self.tokenizer.vocab_size
        self._visits: list[tuple[HookPoint, Callable[[torch.Tensor], torch.Tensor]]] = []
        self._turn = threading.RLock()
        self.under_way: Pass | None = None
        self.prompt_tokens: int | None = None
        generator = torch.Generator().manual_seed(7)
        self.W_U_DV = torch.randn(MODEL_WIDTH, self.tokenizer.vocab_size, generator=generator) / 4

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "fingerprint": self.fingerprint}

    def unembed(self, directions_ND: torch.Tensor) -> torch.Tensor:
        effects_NV = directions_ND @ self.W_U_DV
        return effects_NV - effects_NV.mean(1, keepdim=True)

    def read(
        self, tokens_BC: torch.Tensor, hooks: list[HookPoint], attention_BC: torch.Tensor | None = None
    ) -> dict[HookPoint, torch.Tensor]:
        rows = []
        for tokens in tokens_BC.tolist():
            pieces = [self.tokenizer.piece(token) for token in tokens]
            befores = ["", *pieces]
            words = [Word(piece, before, inside_string=False) for piece, before in zip(pieces, befores, strict=False)]
            rows.append([codes_of(word) for word in words])
        return {HOOK: torch.tensor(rows)}

    def logits(self, tokens_BC: torch.Tensor, attention_BC: torch.Tensor | None = None) -> torch.Tensor:
        self.under_way = Pass(tokens_BC, *tokens_BC.shape, 0)
        x_BCF = self.read(tokens_BC, [HOOK])[HOOK]
        y_BCD = x_BCF @ Dictionary().directions_FD
        for hook, visit in self._visits:
            if hook == HOOK:
                visit(x_BCF)
            else:
                y_BCD = visit(y_BCD)
        return y_BCD @ self.W_U_DV

    def check(self, hook: HookPoint) -> None:
        assert hook in (HOOK, WRITTEN)

    def width_at(self, hook: HookPoint) -> int:
        return NUM_LATENTS if hook == HOOK else MODEL_WIDTH

    def stream_tokens(
        self, tokens_BC: torch.Tensor, *, max_new_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[torch.Tensor]:
        """Without a cache. Never drawn is the token that stands for what is unknown."""
        generator, self.prompt_tokens = torch.Generator().manual_seed(seed), tokens_BC.shape[1]
        for _ in range(max_new_tokens):
            logits_BV = self.logits(tokens_BC)[:, -1, 1:]
            if temperature:
                next_B = torch.multinomial((logits_BV / temperature).softmax(1), 1, generator=generator)[:, 0] + 1
            else:
                next_B = logits_BV.argmax(1) + 1
            tokens_BC = torch.cat([tokens_BC, next_B[:, None]], 1)
            yield next_B

    @contextmanager
    def splice(self, replacements: Mapping[HookPoint, Callable[[torch.Tensor], torch.Tensor]]) -> Iterator[None]:
        with self._turn:
            before, self._visits = self._visits, [*self._visits, *replacements.items()]
            try:
                yield
            finally:
                self._visits = before
