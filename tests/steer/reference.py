"""Steering written down again, slowly: every feature of every token in one matrix, the whole text at every step."""

from __future__ import annotations

import torch

SPECIAL = 3
"""Tokens below are special in the tiny models."""


def dense_codes(sae, x_TD):
    """By the formulas of the architectures that tests use; [T, F]."""
    scores_TF = (x_TD - sae.b_dec_D) @ sae.W_enc_FD.T + sae.b_enc_F
    name = sae.config.architecture
    if name == "relu_l1":
        return scores_TF.clamp(min=0)
    if name == "jumprelu":
        return torch.where(scores_TF > sae.activation.threshold_F, scores_TF, 0)
    assert name == "topk"
    worst_T1 = scores_TF.sort(1, descending=True).values[:, sae.config.k - 1 : sae.config.k]
    return torch.where((scores_TF >= worst_T1) & (scores_TF > 0), scores_TF, 0)


class Steered:
    """Replaces activations by x + (g - f) W, g = change(f, row, position, length of the prompt) token by token.

    ``drop`` puts the reconstruction of g there, on the tokens for which the change is not None.
    """

    def __init__(self, sae, change, tokens_BC, prompt, *, drop=False):
        self.sae, self.change, self.tokens_BC, self.prompt, self.drop = sae, change, tokens_BC, prompt, drop

    @torch.no_grad()
    def __call__(self, x_BCD):
        out_BCD = x_BCD.clone()
        for row, x_CD in enumerate(x_BCD):
            f_CF = dense_codes(self.sae, x_CD.float())
            for place, f_F in enumerate(f_CF):
                if int(self.tokens_BC[row, place]) < SPECIAL:
                    continue
                g_F = self.change(f_F.clone(), row, place, self.prompt)
                if g_F is None:
                    continue
                if self.drop:
                    out_BCD[row, place] = self.sae.b_dec_D + g_F @ self.sae.W_dec_FD
                else:
                    out_BCD[row, place] += (g_F - f_F) @ self.sae.W_dec_FD
        return out_BCD


def steered_logits(model, sae, change, tokens_BC, *, prompt=None, drop=False):
    replace = Steered(sae, change, tokens_BC, tokens_BC.shape[1] if prompt is None else prompt, drop=drop)
    with model.splice({sae.hook: replace}):
        return model.logits(tokens_BC)


def steered_text(model, sae, change, tokens_BC, steps, choose):
    """New tokens, each chosen from the logits of all that there is so far; no cache."""
    prompt = tokens_BC.shape[1]
    for _ in range(steps):
        logits_BV = steered_logits(model, sae, change, tokens_BC, prompt=prompt)[:, -1]
        tokens_BC = torch.cat([tokens_BC, choose(logits_BV)[:, None]], dim=1)
    return tokens_BC[:, prompt:]
