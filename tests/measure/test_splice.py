"""Splicing against the plain forward pass of transformers, one context at a time and one position at a time."""

from __future__ import annotations

import pytest
import torch

from lexiscope.core.hookpoint import HookPoint
from lexiscope.measure import metrics
from lexiscope.measure.splice import predict_spliced
from lexiscope.saes.baselines import fit_neurons
from lexiscope.text.document import Document
from lexiscope.text.pack import pack
from lexiscope.train.source import Sites

HOOK = HookPoint.parse("resid_post.1")
TEXTS = [
    "When Mary and John went to the store, John gave a drink to Mary.",
    "def f(x):\n    return x\n",
    "one two three",
]


@pytest.fixture(scope="module")
def batches(model):
    documents = [Document(str(number), text, "prose", "unknown") for number, text in enumerate(TEXTS)]
    return list(pack(documents, model.tokenizer, context=16, batch=3, bos="context"))


def spliced(model, batches, replace, mean_D=None):
    mean_D = torch.zeros(model.width) if mean_D is None else mean_D
    sites = Sites((HOOK,), (HOOK,))
    return [dict(predict_spliced(model, sites, batch, {HOOK: mean_D}, {"only": replace}))["only"] for batch in batches]


def finish(name, predictions):
    metric = metrics.find(name)()
    metric.start()
    for batch in predictions:
        metric.add(batch)
    return metric.finish()


def test_losses_equal_a_loop_over_positions(model, batches):
    """Oracle: log-probabilities of the bare transformers module on each context cut to its own length."""
    for batch, predictions in zip(batches, spliced(model, batches, lambda x_TD: x_TD * 0.5), strict=True):
        clean, halved, zeroed, divergences, documents = [], [], [], [], []
        for row in range(len(batch.tokens_BC)):
            length = int(batch.attention_BC[row].sum())
            tokens_1C = batch.tokens_BC[row : row + 1, :length]
            outputs = []
            for factor in (1.0, 0.5, 0.0):

                def hook(module, inputs, output, factor=factor):
                    hidden = output[0] if isinstance(output, tuple) else output
                    hidden = torch.cat([hidden[:, :1], hidden[:, 1:] * factor], 1)  # BOS stays
                    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

                handle = model.module.transformer.h[1].register_forward_hook(hook)
                with torch.no_grad():
                    outputs.append(model.module(tokens_1C).logits[0].log_softmax(-1))
                handle.remove()
            for place in range(1, length - 1):  # from the first text token to the last but one
                target = int(tokens_1C[0, place + 1])
                clean.append(-outputs[0][place, target])
                halved.append(-outputs[1][place, target])
                zeroed.append(-outputs[2][place, target])
                divergences.append((outputs[0][place].exp() * (outputs[0][place] - outputs[1][place])).sum())
                documents.append(int(batch.documents_BC[row, place]))
        assert torch.allclose(predictions.clean_T, torch.tensor(clean), atol=1e-5)
        assert torch.allclose(predictions.spliced_T, torch.tensor(halved), atol=1e-5)
        assert torch.allclose(predictions.zero_ablated_T, torch.tensor(zeroed), atol=1e-5)
        assert torch.allclose(predictions.divergence_T, torch.tensor(divergences), atol=1e-5)
        assert predictions.documents_T.tolist() == documents


def test_splicing_the_activation_itself_changes_nothing(model, batches):
    predictions = spliced(model, batches, lambda x_TD: x_TD)
    assert abs(finish("loss_difference", predictions)) <= 1e-5
    assert abs(finish("kl_divergence", predictions)) <= 1e-5
    assert finish("loss_recovered_mean_ablation", predictions) == pytest.approx(1, abs=1e-5)
    assert finish("loss_recovered_zero_ablation", predictions) == pytest.approx(1, abs=1e-5)


def test_neurons_lose_nothing(model, batches):
    neurons = fit_neurons(torch.randn(100, model.width))
    predictions = spliced(model, batches, neurons)
    assert finish("loss_recovered_zero_ablation", predictions) == pytest.approx(1, abs=1e-4)


def test_splicing_the_mean_recovers_nothing(model, batches):
    mean_D = torch.linspace(-1, 1, model.width)
    predictions = spliced(model, batches, lambda x_TD: 0 * x_TD + mean_D, mean_D)
    assert finish("loss_recovered_mean_ablation", predictions) == pytest.approx(0, abs=1e-9)
    assert abs(finish("loss_difference", predictions)) > 1e-3


def test_special_positions_keep_their_activation(model, batches):
    seen = []

    def look(x_TD):
        seen.append(len(x_TD))
        return x_TD

    spliced(model, batches, look)
    assert seen == [int(batch.mask_BC.sum()) for batch in batches]
