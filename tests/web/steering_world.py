"""A folder with one run in it, of a real model: tiny, with random weights, and with an index of what it reads."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from lexiscope import saes
from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.documents import DocumentInfo
from lexiscope.harvest.store import StoreChunk
from lexiscope.index.build import build_index
from lexiscope.index.live.reading import read_texts
from lexiscope.saes import Batch
from lexiscope.web.app import create_app

worlds = sys.modules["index_world"]
BASE = "http://127.0.0.1:8765"
HOOK = HookPoint("resid_post", 1)
DEAD = 3
PROMPT = "a w3 b c w7"
URL, LINES = "/d/demo/steered.json", "/d/demo/steered.ndjson"


class Store(worlds.Store):
    """What a real model has at one place."""

    def __init__(self, said, model, x_TD, folder):
        super().__init__(said, folder)
        self.hooks, self._model, self._x_TD = [HOOK], model, x_TD

    def width(self, hook):
        return self._x_TD.shape[1]

    def check_model(self, model):
        assert model is self._model

    def chunks(self, hook, *, chunk_tokens=100, start=0):
        for first in range(start, self.num_tokens, chunk_tokens):
            yield StoreChunk(first, self._x_TD[first : first + chunk_tokens])


@pytest.fixture(scope="session")
def real(tiny, tmp_path_factory):
    """A tiny model, a dictionary of it in which one feature is dead, their index, and the folder that it is in."""
    model, root = tiny("llama"), tmp_path_factory.mktemp("real")
    tokens_BC = torch.randint(3, model.vocab_size, (40, 12), generator=torch.Generator().manual_seed(7))
    x_TD = model.read(tokens_BC, [HOOK])[HOOK].flatten(0, 1).float()
    sae = saes.create(saes.relu_l1.Config(num_latents=24), Batch.same(x_TD), seed=1)
    with torch.no_grad():
        sae.b_enc_F[DEAD] = -1e6
    sae.hook = HOOK
    with write_artifact(root / "demo" / "sae", "sae", config={"sae": {"architecture": "relu_l1"}}) as draft:
        (draft.path / "sae.safetensors").write_bytes(b"weights")
    sae.artifact = open_artifact(root / "demo" / "sae", "sae")
    rows = np.arange(tokens_BC.numel())
    said = SimpleNamespace(
        tokens_T=tokens_BC.flatten().numpy().astype(np.int32),
        documents_T=(rows // 12).astype(np.int32),
        positions_T=(rows % 12).astype(np.int32),
        contexts_T=(rows // 12).astype(np.int32),
        documents=[DocumentInfo(str(number), "text", "none", 0, heldout=False) for number in range(40)],
    )
    index = build_index(sae, model, Store(said, model, x_TD, root / "demo" / "store"), out=root / "demo" / "index")
    return SimpleNamespace(model=model, sae=sae, index=index, root=root)


def give(real):
    """Puts the model and the dictionary where an app would load them."""

    def prepare(app):
        app.state.library.dictionary("demo").reader.__dict__["_parts"] = (real.model, real.sae)

    return prepare


def app_of(real):
    app = create_app(real.root)
    give(real)(app)
    return app


@pytest.fixture
def ask(real):
    client = TestClient(app_of(real), base_url=BASE)

    def ask(url=URL, **body):
        content = json.dumps({"prompt": PROMPT, "tokens": 8, **body})
        return client.post(url, content=content, headers={"content-type": "application/json"})

    return ask


def live(real):
    """Two features that fire on the prompt's last tokens."""
    [reading] = read_texts(real.model, real.sae, [PROMPT], index=real.index)
    return [firing.feature for firing in reading.tokens[-1].firings[:2]]
