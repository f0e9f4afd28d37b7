"""Reading a text. Oracles: the decomposition written out token by token with dense codes, the bare transformers module,
the metrics of a scorecard, and dictionaries whose truth is known."""

from __future__ import annotations

import pytest
import torch

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.contexts import Contexts
from lexiscope.index.live.reading import read_texts
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import Batch, crosscoder, topk, transcoder

TEXT = 'def shorten(text):\n    """Mary and John went to the store."""\n    return text[:3]\n'
OTHERS = ["a = [1, 2, 3]", "x"]
KINDS = {
    "autoencoder": (topk.Config(num_latents=48, k=6, init="data"), ["resid_post.1"], ["resid_post.1"]),
    "transcoder": (
        transcoder.Config(num_latents=48, activation={"name": "topk", "k": 6}, init="data", skip=True),
        ["mlp_in.1"],
        ["mlp_out.1"],
    ),
    "crosscoder": (
        crosscoder.Config(num_latents=48, activation={"name": "topk", "k": 6}, init="data"),
        ["resid_post.0", "resid_post.2"],
        ["resid_post.0", "resid_post.2"],
    ),
}


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


def activations(model, text, hooks):
    contexts = Contexts.of(model, [model.tokenizer.encode(text).ids])
    return contexts.side_by_side(model.read(contexts.tokens_BC, hooks), hooks)


def dictionary(model, kind="autoencoder"):
    config, *names = KINDS[kind]
    reads, writes = ([HookPoint.parse(name) for name in hooks] for hooks in names)
    if kind == "crosscoder":
        config = config.for_sites(reads, writes, [model.width] * 2)
    x_TD, y_TE = (activations(model, TEXT * 2, hooks) for hooks in (reads, writes))
    sae = saes.create(config, Batch.same(x_TD) if reads == writes else Batch(x_TD, y_TE))
    if kind == "transcoder":
        with torch.no_grad():
            sae.W_skip_ED.normal_(std=0.01, generator=torch.Generator().manual_seed(0))
    sae.reads, sae.writes = tuple(reads), tuple(writes)
    return sae


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_those_of_dense_codes_token_by_token(demo, kind):
    sae = dictionary(demo, kind)
    [reading] = read_texts(demo, sae, [TEXT])
    x_TD, y_TE = (activations(demo, TEXT, hooks) for hooks in (sae.reads, sae.writes))
    with torch.no_grad():
        dense_TF, output_TE = sae.encode(x_TD).dense(), sae(x_TD)
        bias_E, W_FE = sae.b_dec_D, sae.directions_FD
    assert [token.piece for token in reading.tokens] == [
        demo.tokenizer.piece(token) for token in demo.tokenizer.encode(TEXT).ids
    ]
    errors = variances = 0.0
    for token, f_F, x_D, y_E, output_E in zip(reading.tokens, dense_TF, x_TD, y_TE, output_TE, strict=True):
        around_E = x_D @ sae.W_skip_ED.T if kind == "transcoder" else torch.zeros_like(y_E)
        made_E = f_F @ W_FE
        parts = {"features": made_E, "bias": bias_E, "around": around_E, "error": y_E - output_E}
        assert torch.allclose(sum(parts.values()), y_E, atol=1e-3)
        found = token.parts.model_dump()
        for name, part_E in parts.items():
            assert found[f"{name}_norm"] == pytest.approx(float(part_E.detach().norm()), rel=1e-3, abs=1e-4)
            assert found[f"{name}_share"] == pytest.approx(
                float((part_E @ y_E / (y_E @ y_E)).detach()), rel=1e-3, abs=1e-4
            )
        assert sum(found[f"{name}_share"] for name in parts) == pytest.approx(1, abs=1e-4)
        assert found["norm"] == pytest.approx(float(y_E.norm()), rel=1e-4)
        error, variance = float((y_E - output_E).square().sum()), float((y_E - bias_E).detach().square().sum())
        assert found["fvu"] == pytest.approx(error / variance, rel=1e-3)
        errors, variances = errors + error, variances + variance
        assert token.l0 == int((f_F != 0).sum())
        assert {firing.feature for firing in token.firings} == set(f_F.nonzero()[:, 0].tolist())
        assert [firing.share for firing in token.firings] == sorted(
            (firing.share for firing in token.firings), reverse=True
        )
        for firing in token.firings:
            one_E = f_F[firing.feature] * W_FE[firing.feature]
            assert firing.activation == pytest.approx(float(f_F[firing.feature]), rel=1e-4)
            share = float((one_E @ made_E / (made_E @ made_E)).detach())
            assert firing.share == pytest.approx(share, rel=1e-3, abs=1e-5)
            assert firing.relative is None
    assert reading.fvu == pytest.approx(errors / variances, rel=1e-3)


def test_shares_add_up_however_weak_the_features_are(demo):
    """Known truth: scaling all codes changes no share. Beside the bias, weak features are lost in its rounding."""
    factor = 1e-7
    sae = dictionary(demo)
    strong = read_texts(demo, sae, [TEXT])[0]
    with torch.no_grad():
        for weight in (sae.W_enc_FD, sae.b_enc_F):
            weight.mul_(factor)
    weak = read_texts(demo, sae, [TEXT])[0]
    for one, other in zip(strong.tokens, weak.tokens, strict=True):
        assert [firing.feature for firing in one.firings] == [firing.feature for firing in other.firings]
        assert sum(firing.share for firing in other.firings) == pytest.approx(1, abs=1e-4)
        assert other.parts.features_norm == pytest.approx(one.parts.features_norm * factor, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_bare_module(demo, kind):
    """Oracle: transformers on this text alone, and with hooks of the test's own that write the reconstruction."""
    sae = dictionary(demo, kind)
    [reading] = read_texts(demo, sae, [TEXT], next_tokens=3)
    ids = demo.tokenizer.encode(TEXT).ids
    lead = [demo.tokenizer.bos_id] if demo.bos == "context" else []
    with torch.no_grad():
        output_TE = sae(activations(demo, TEXT, sae.reads))
        clean_CV = demo.module(torch.tensor([[*lead, *ids]])).logits[0, len(lead) :].log_softmax(1)
    handles = []
    for hook, part_TD in zip(sae.writes, output_TE.split(demo.width, dim=1), strict=True):
        block = demo._anatomy.blocks[hook.layer]

        def put(module, inputs, output, part_TD=part_TD):
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            hidden[0, len(lead) :] = part_TD
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles.append((block.mlp if hook.site == "mlp_out" else block).register_forward_hook(put))
    with torch.no_grad():
        spliced_CV = demo.module(torch.tensor([[*lead, *ids]])).logits[0, len(lead) :].log_softmax(1)
    for handle in handles:
        handle.remove()
    kl_C = (clean_CV.exp() * (clean_CV - spliced_CV)).sum(1)
    for place, token in enumerate(reading.tokens):
        best = clean_CV[place].exp().topk(3)
        assert [item.token for item in token.next_tokens] == best.indices.tolist()
        assert [item.probability for item in token.next_tokens] == pytest.approx(best.values.tolist(), rel=1e-4)
        assert token.spliced_kl == pytest.approx(float(kl_C[place]), rel=1e-3, abs=1e-5)
        if place + 1 < len(ids):
            assert token.loss == pytest.approx(-float(clean_CV[place, ids[place + 1]]), rel=1e-3, abs=1e-4)
            assert token.spliced_loss == pytest.approx(-float(spliced_CV[place, ids[place + 1]]), rel=1e-3, abs=1e-4)
        else:
            assert token.loss is token.spliced_loss is None
    assert reading.loss == pytest.approx(sum(token.loss for token in reading.tokens[:-1]) / (len(ids) - 1), rel=1e-4)


def test_each_of_several_texts_is_read_as_if_alone(demo, monkeypatch):
    sae = dictionary(demo)
    together = read_texts(demo, sae, [TEXT, *OTHERS])
    monkeypatch.setattr("lexiscope.index.live.reading._NUMBERS_AT_ONCE", 1)
    apart = read_texts(demo, sae, [TEXT, *OTHERS])
    for one, other in zip(together, apart, strict=True):
        for left, right in zip(one.tokens, other.tokens, strict=True):
            assert (left.loss or 0) == pytest.approx(right.loss or 0, rel=1e-3, abs=1e-4)
            assert [firing.feature for firing in left.firings] == [firing.feature for firing in right.firings]
            assert left.parts.error_share == pytest.approx(right.parts.error_share, rel=1e-3, abs=1e-5)
    assert together[2].loss is None


def test_a_perfect_dictionary_leaves_no_error_and_changes_no_prediction(demo):
    """Known truth: both signs of every axis, so that an activation is its own code."""
    from lexiscope.saes.baselines import fit_neurons

    hook = HookPoint.parse("resid_post.1")
    sae = fit_neurons(activations(demo, TEXT, [hook]))
    sae.hook = hook
    [reading] = read_texts(demo, sae, [TEXT])
    for token in reading.tokens:
        assert token.parts.error_norm == pytest.approx(0, abs=1e-3)
        assert token.spliced_kl == pytest.approx(0, abs=1e-6)
        assert len(token.firings) == 128 < token.l0
    assert reading.fvu == pytest.approx(0, abs=1e-6)


def test_fvu_about_a_mean_is_that_of_the_scorecard(demo):
    """Oracle: the FVU metric, which measures about the mean of the tokens it saw."""
    from lexiscope.measure import metrics
    from lexiscope.measure.metric import Reconstruction

    sae = dictionary(demo)
    x_TD = activations(demo, TEXT, list(sae.reads))
    with torch.no_grad():
        codes = sae.encode(x_TD)
        metric = metrics.find("fvu")()
        metric.start()
        metric.add(Reconstruction(x_TD, codes, sae.decode(codes), torch.zeros(len(x_TD), dtype=torch.int64)))
    [reading] = read_texts(demo, sae, [TEXT], centre_E=x_TD.mean(0))
    assert reading.fvu == pytest.approx(metric.finish(), rel=1e-3)


def test_a_long_text_is_cut_and_said(demo):
    sae = dictionary(demo)
    [reading] = read_texts(demo, sae, [TEXT * 40], most_tokens=12)
    assert len(reading.tokens) == 12
    assert reading.left_out == len(demo.tokenizer.encode(TEXT * 40).ids) - 12
    [reading] = read_texts(demo, sae, [TEXT * 40])
    assert len(reading.tokens) == demo.max_context - (demo.bos == "context")


def test_places_are_those_in_the_text(demo):
    [reading] = read_texts(demo, dictionary(demo), [TEXT])
    assert "".join(TEXT[token.start : token.end] for token in reading.tokens) == TEXT


def test_nothing_and_nowhere_are_said(demo):
    sae = dictionary(demo)
    with pytest.raises(InputError, match="nothing to read"):
        read_texts(demo, sae, ["a", ""])
    sae.hook = None
    with pytest.raises(InputError, match="hook point"):
        read_texts(demo, sae, ["a"])
