"""A language model that is one matrix, so that what a vector does can be written down.

logits = x U + relu(x · reader) u, where x is the token's row of a table. Nothing looks at other tokens.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import torch

from lexiscope.core.codes import SparseCodes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.hooks import Pass

HOOK = HookPoint("resid_post", 0)
WIDTH, VOCABULARY, BOS = 8, 12, 0


class Words:
    """Token n is written as the n-th letter; 0 is BOS and padding."""

    vocab_size, bos_id, eos_id, pad_id = VOCABULARY, BOS, None, BOS
    special_ids = frozenset({BOS})
    letters = ".abcdefghijk"

    def encode(self, text):
        ids = [self.letters.index(letter) for letter in text]
        return SimpleNamespace(ids=ids, starts=list(range(len(ids))), ends=list(range(1, len(ids) + 1)))

    def decode(self, ids):
        return "".join(self.letters[token] for token in ids)


class LinearModel:
    name, bos, max_context, width, vocab_size = "linear", "context", 64, WIDTH, VOCABULARY

    def __init__(self, U_DV, table_VD=None, reader_D=None, reads_to_V=None):
        self.U_DV = U_DV.float()
        random = torch.Generator().manual_seed(0)
        self.table_VD = torch.randn(VOCABULARY, WIDTH, generator=random) / 4 if table_VD is None else table_VD
        self.reader_D = torch.zeros(WIDTH) if reader_D is None else reader_D
        self.reads_to_V = torch.zeros(VOCABULARY) if reads_to_V is None else reads_to_V
        self.tokenizer = Words()
        self.device = torch.device("cpu")
        self.under_way = None
        self._replace = []

    def width_at(self, hook):
        return WIDTH

    def unembed(self, directions_ND):
        effects_NV = directions_ND @ self.U_DV
        return effects_NV - effects_NV.mean(1, keepdim=True)

    def _x(self, tokens_BC):
        self.under_way = Pass(tokens_BC, *tokens_BC.shape, 0)
        x_BCD = self.table_VD[tokens_BC]
        for replace in self._replace:
            x_BCD = replace(x_BCD)
        self.under_way = None
        return x_BCD

    def read(self, tokens_BC, hooks, attention_BC=None):
        return {HOOK: self._x(tokens_BC)}

    def logits(self, tokens_BC, attention_BC=None, *, grad=False):
        with torch.set_grad_enabled(grad):
            x_BCD = self._x(tokens_BC)
            return x_BCD @ self.U_DV + (x_BCD @ self.reader_D).relu()[..., None] * self.reads_to_V

    @contextmanager
    def splice(self, replacements):
        self._replace.append(replacements[HOOK])
        yield
        self._replace.pop()

    def generate_tokens(self, tokens_BC, *, max_new_tokens, temperature, seed):
        random = torch.Generator().manual_seed(seed)
        text_BC = tokens_BC
        for _ in range(max_new_tokens):
            p_BV = (self.logits(text_BC)[:, -1] / temperature).softmax(-1)
            text_BC = torch.cat([text_BC, torch.multinomial(p_BV, 1, generator=random)], 1)
        return text_BC[:, tokens_BC.shape[1] :]


class LinearDictionary:
    """Features with any directions; feature f is the projection on row f of what is read, where that is above 0."""

    reads = writes = (HOOK,)

    def __init__(self, directions_FD, encoder_FD=None):
        self.directions_FD = directions_FD.float()
        self._encoder_FD = self.directions_FD if encoder_FD is None else encoder_FD.float()
        self.num_latents = len(directions_FD)

    def encode(self, x_TD):
        return SparseCodes.from_dense((x_TD @ self._encoder_FD.T).clamp_min(0))
