"""Ablation. Oracles: the bare transformers module on each example alone with a hook of the test's own; the last layer,
where what follows is the final norm and the unembedding; and a feature that does not fire."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.ablation import Window, ablate, windows_at
from lexiscope.index.live.changes import bootstrap
from lexiscope.index.live.contexts import Contexts, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import Batch, crosscoder, topk, transcoder

TEXTS = ["def f(x):\n    return x\n", "When Mary and John went to the store, John gave", "a = [1, 2, 3]"]


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


def windows_of(model, focus=5):
    return [Window(model.tokenizer.encode(text).ids, focus) for text in TEXTS]


def dictionary(model, windows, reads, writes=None, config=None):
    """A small dictionary of these very activations, and its codes on them, context after context."""
    reads = [HookPoint.parse(hook) for hook in reads]
    writes = [HookPoint.parse(hook) for hook in writes or reads]
    contexts = Contexts.of(model, [window.tokens for window in windows])
    at = contexts.forward(model, [*reads, *writes]).at
    x_TD, y_TE = (contexts.side_by_side(at, hooks) for hooks in (reads, writes))
    config = config or topk.Config(num_latents=24, k=4, init="data")
    sae = saes.create(config, Batch.same(x_TD) if reads == writes else Batch(x_TD, y_TE))
    sae.reads, sae.writes = tuple(reads), tuple(writes)
    dense_TF = encode(sae, x_TD).dense()
    codes = [contexts.spread(column_T) for column_T in dense_TF.T]
    return sae, torch.stack(codes, 2)[:, contexts.lead :]


def fires_at(codes_BCF, focus=5):
    return int((codes_BCF[:, focus] != 0).sum(0).argmax())


def alone(model, window, block, edit):
    """Log probabilities [C, V] of one context, the output of a block passed through ``edit``."""
    lead = [model.tokenizer.bos_id] if model.bos == "context" else []

    def hook(module, inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = edit(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = block.register_forward_hook(hook)
    try:
        with torch.no_grad():
            logits = model.module(torch.tensor([[*lead, *window.tokens]])).logits
    finally:
        handle.remove()
    return logits[0, len(lead) :].double().log_softmax(1)


@pytest.mark.parametrize("scope", ["at_focus", "everywhere"])
def test_changes_are_those_of_each_example_run_alone(demo, scope):
    windows = windows_of(demo)
    sae, codes_BCF = dictionary(demo, windows, ["resid_post.1"])
    feature = fires_at(codes_BCF)
    block = demo._anatomy.blocks[1]
    found = ablate(demo, sae, feature, windows)
    lead = int(demo.bos == "context")
    for row, (window, example) in enumerate(zip(windows, found.examples, strict=True)):
        length, focus = len(window.tokens), window.focus
        amounts_C = codes_BCF[row, :length, feature].clone()
        assert example.fires_on == int((amounts_C != 0).sum())
        assert example.activation == pytest.approx(float(amounts_C[focus]), rel=1e-4)
        if scope == "at_focus":
            amounts_C[:focus] = amounts_C[focus + 1 :] = 0

        def subtract(hidden_1CD, amounts_C=amounts_C):
            out = hidden_1CD.clone()
            out[0, lead:] -= amounts_C[:, None] * sae.directions_FD[feature].detach()
            return out

        clean_CV, ablated_CV = (alone(demo, window, block, edit) for edit in (lambda x: x, subtract))
        kl_C = (clean_CV.exp() * (clean_CV - ablated_CV)).sum(1)
        next_C = torch.tensor(window.tokens[1:])
        rise_C = (clean_CV - ablated_CV)[:-1].gather(1, next_C[:, None])[:, 0]
        change = getattr(example, scope)
        assert change.kl == pytest.approx(float(kl_C[focus]), rel=1e-3, abs=1e-7)
        assert change.kl_after == pytest.approx(float(kl_C[focus + 1 :].mean()), rel=1e-3, abs=1e-7)
        assert change.loss == pytest.approx(float(rise_C[focus]), rel=1e-3, abs=1e-5)
        assert change.loss_after == pytest.approx(float(rise_C[focus + 1 :].mean()), rel=1e-3, abs=1e-5)
        if scope == "at_focus" and example.activation:
            moved_V = ablated_CV[focus].exp() - clean_CV[focus].exp()
            assert [item.token for item in example.raised] == moved_V.topk(8).indices.tolist()
            assert [item.token for item in example.lowered] == (-moved_V).topk(8).indices.tolist()
            assert example.raised[0].after == pytest.approx(float(ablated_CV[focus].exp()[example.raised[0].token]))
    fired = [example for example in found.examples if example.activation]
    assert found.fired == len(fired)
    means = getattr(found, scope)
    assert means.feature.kl.mean == pytest.approx(sum(getattr(one, scope).kl for one in fired) / len(fired), rel=1e-4)
    assert means.excess.mean == pytest.approx(means.feature.kl.mean - means.direction.kl.mean, abs=1e-5)


def test_at_the_last_layer_the_rest_is_arithmetic(demo):
    """Oracle: unembedding of the normalised residual stream without the contribution; later tokens see nothing."""
    windows = windows_of(demo)
    hook = f"resid_post.{demo.num_layers - 1}"
    sae, codes_BCF = dictionary(demo, windows, [hook])
    feature = fires_at(codes_BCF)
    found = ablate(demo, sae, feature, windows)
    norm, _ = demo._anatomy.final_maps()
    contexts = Contexts.of(demo, [window.tokens for window in windows])
    x_BCD = contexts.forward(demo, [HookPoint.parse(hook)]).at[HookPoint.parse(hook)]
    for row, example in enumerate(found.examples):
        x_D = x_BCD[row, contexts.lead + 5]
        without_D = x_D - codes_BCF[row, 5, feature] * sae.directions_FD[feature].detach()
        with torch.no_grad():
            before_V, after_V = (
                demo.module.get_output_embeddings()(norm(x[None, None]))[0, 0].double().log_softmax(0)
                for x in (x_D, without_D)
            )
        kl = float((before_V.exp() * (before_V - after_V)).sum())
        assert example.at_focus.kl == pytest.approx(kl, rel=1e-3, abs=1e-7)
        assert example.at_focus.kl_after == pytest.approx(0, abs=1e-9)
        assert example.norm_share == pytest.approx(float((x_D - without_D).norm() / x_D.norm()), rel=1e-4)


def test_controls_take_out_as_much(demo):
    """Oracle: what reaches the model, seen by a hook of the test's own."""
    windows = windows_of(demo)
    sae, codes_BCF = dictionary(demo, windows, ["resid_post.1"])
    feature = fires_at(codes_BCF)
    seen = []
    handle = demo._anatomy.blocks[2].register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    try:
        found = ablate(demo, sae, feature, windows)
    finally:
        handle.remove()
    clean_BCD, ablated_JCD = seen
    rows = [row for row in range(len(windows)) if codes_BCF[row, 5, feature] != 0]
    place = 5 + int(demo.bos == "context")
    at_focus_JCD = ablated_JCD[: 3 * len(rows)]
    for job, x_CD in enumerate(at_focus_JCD):
        row = rows[job % len(rows)]
        taken_CD = clean_BCD[row] - x_CD
        assert float(taken_CD[place].norm()) == pytest.approx(
            float(codes_BCF[row, 5, feature] * sae.directions_FD[feature].detach().norm()), rel=1e-3
        )
        taken_CD[place] = 0
        assert float(taken_CD.abs().max()) < 1e-4
    assert found.at_focus
    assert found.at_focus.direction.kl.examples == len(rows)


def load_families():
    path = Path(__file__).parents[1] / "lm" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_models", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["demo", "gpt2", "gemma2", "opt", "gpt_neox"])
def test_a_feature_that_does_not_fire_changes_nothing_to_the_bit(kind, demo, tmp_path):
    model = demo if kind == "demo" else LanguageModel(load_families().write_model(tmp_path / kind, kind))
    texts = TEXTS if kind == "demo" else ["a b c w1 w2 d e f", "w3 a w4 b c c", "z y x w v u"]
    windows = [Window(model.tokenizer.encode(text).ids, 3) for text in texts]
    sae, _ = dictionary(model, windows, ["resid_post.1"])
    with torch.no_grad():
        sae.W_enc_FD[0], sae.b_enc_F[0] = 0, -1e6
    found = ablate(model, sae, 0, windows)
    assert found.fired == 0
    assert found.at_focus is None
    assert found.raised == found.lowered == []
    for example in found.examples:
        assert example.activation == example.fires_on == 0
        assert example.raised == example.lowered == []
        for change in (example.at_focus, example.everywhere):
            assert [value for value in change.model_dump().values() if value is not None and value != 0] == []
    contexts = Contexts.of(model, [window.tokens for window in windows])
    plain = model.logits(contexts.tokens_BC, contexts.attention_BC)
    direction_D = sae.directions_FD[1].detach()
    spliced = contexts.forward(model, replacements={sae.reads[0]: lambda x: x - 0.0 * direction_D.to(x.dtype)})
    assert torch.equal(spliced.logits_BCV, plain)
    assert any(ablate(model, sae, one, windows).fired for one in range(1, 24))


def test_a_transcoder_is_ablated_where_it_writes(demo):
    """Oracle: the bare module with the contribution taken off the MLP's output."""
    windows = windows_of(demo)
    config = transcoder.Config(num_latents=24, activation={"name": "topk", "k": 4}, init="data")
    sae, codes_BCF = dictionary(demo, windows, ["mlp_in.1"], ["mlp_out.1"], config)
    feature = fires_at(codes_BCF)
    found = ablate(demo, sae, feature, windows)
    lead = int(demo.bos == "context")
    for row, (window, example) in enumerate(zip(windows, found.examples, strict=True)):

        def subtract(out_1CD, row=row):
            new = out_1CD.clone()
            new[0, lead + 5] -= codes_BCF[row, 5, feature] * sae.directions_FD[feature].detach()
            return new

        clean_CV, ablated_CV = (
            alone(demo, window, demo._anatomy.blocks[1].mlp, edit) for edit in (lambda x: x, subtract)
        )
        kl = float((clean_CV.exp() * (clean_CV - ablated_CV)).sum(1)[5])
        assert example.at_focus.kl == pytest.approx(kl, rel=1e-3, abs=1e-7)


def test_a_crosscoder_takes_nothing_out_twice(demo):
    """Oracle: of the two places only the later one counts at the focus, where the stream is pinned last."""
    windows = windows_of(demo)
    last = demo.num_layers - 1
    config = crosscoder.Config(num_latents=24, activation={"name": "topk", "k": 4}, init="data")
    config = config.for_sites([1, 2], [1, 2], [demo.width] * 2)
    sae, codes_BCF = dictionary(demo, windows, ["resid_post.1", f"resid_post.{last}"], config=config)
    feature = fires_at(codes_BCF)
    found = ablate(demo, sae, feature, windows)
    norm, _ = demo._anatomy.final_maps()
    contexts = Contexts.of(demo, [window.tokens for window in windows])
    x_BCD = contexts.forward(demo, [sae.reads[1]]).at[sae.reads[1]]
    for row, example in enumerate(found.examples):
        x_D = x_BCD[row, contexts.lead + 5]
        without_D = x_D - codes_BCF[row, 5, feature] * sae.site_directions[1][feature].detach()
        with torch.no_grad():
            before_V, after_V = (
                demo.module.get_output_embeddings()(norm(x[None, None]))[0, 0].double().log_softmax(0)
                for x in (x_D, without_D)
            )
        kl = float((before_V.exp() * (before_V - after_V)).sum())
        assert example.at_focus.kl == pytest.approx(kl, rel=1e-3, abs=1e-7)


def test_the_same_call_gives_the_same_numbers(demo):
    windows = windows_of(demo)
    sae, codes_BCF = dictionary(demo, windows, ["resid_post.1"])
    feature = fires_at(codes_BCF)
    first, again, other = (ablate(demo, sae, feature, windows, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.at_focus
    assert other.at_focus
    assert first.at_focus.direction != other.at_focus.direction
    assert first.at_focus.feature.kl.mean == other.at_focus.feature.kl.mean


def test_an_example_that_ends_at_its_focus_has_no_token_after(demo):
    ids = demo.tokenizer.encode("def f(x):").ids
    windows = [Window(ids, len(ids) - 1)]
    sae, _ = dictionary(demo, windows_of(demo), ["resid_post.1"])
    change = ablate(demo, sae, 0, windows).examples[0].at_focus
    assert change.kl_after is change.loss is change.loss_after is None


def test_the_interval_holds_the_mean_as_often_as_it_says():
    """Known truth: means of 40 numbers drawn from an exponential distribution with mean 1."""
    random = torch.Generator().manual_seed(0)
    held = 0
    for trial in range(200):
        interval = bootstrap((-torch.rand(40, generator=random).log()).tolist(), trial)
        held += interval.low <= 1 <= interval.high
    assert 0.85 <= held / 200 <= 0.99
    assert bootstrap([], 0) is None
    assert bootstrap([2.0], 0).low is None


@pytest.mark.parametrize(("feature", "focus", "sentence"), [(99, 0, "no feature 99"), (0, 99, "no token 99")])
def test_what_is_not_there_is_said(demo, feature, focus, sentence):
    sae, _ = dictionary(demo, windows_of(demo), ["resid_post.1"])
    with pytest.raises(InputError, match=sentence):
        ablate(demo, sae, feature, [Window([5, 6, 7], focus)])


def test_windows_begin_where_their_context_does():
    tokens_T, starts = np.arange(100, 120, dtype=np.int32), np.array([0, 5, 12])
    cases = {0: (0, 3), 4: (0, 5), 5: (5, 8), 11: (5, 12), 12: (12, 15), 19: (12, 20)}
    for (row, (first, end)), window in zip(
        cases.items(), windows_at(tokens_T, starts, list(cases), before=None, after=2), strict=True
    ):
        assert window == Window(list(range(100 + first, 100 + end)), row - first)
        assert window.tokens[window.focus] == 100 + row
    assert windows_at(tokens_T, starts, [11, 12], before=3, after=0) == [
        Window([108, 109, 110, 111], 3),
        Window([112], 0),
    ]
