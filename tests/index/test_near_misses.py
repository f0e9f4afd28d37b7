"""Near-misses. Oracles: every pre-activation written out token by token; what an encoder does when the feature's bias
is raised by just the gap, and by a little less; and the bars that are known by construction.
"""

from __future__ import annotations

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.live.ablation import Window
from lexiscope.index.live.near_misses import near_misses
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import batch_topk, gated, hierarchical_topk, jumprelu, matching_pursuit, matryoshka, relu_l1, topk
from lexiscope.saes.registry import read_activation

HOOK = HookPoint.parse("resid_post.1")
TEXTS = ["def f(x):\n    return x\n", "When Mary and John went to the store, John gave", "a = [1, 2, 3]"]
LATENTS = 40


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


@pytest.fixture(scope="module")
def windows(demo):
    return [Window(demo.tokenizer.encode(text).ids, 0) for text in TEXTS]


@pytest.fixture(scope="module")
def x_TD(demo, windows):
    """Activations of all tokens, read one text at a time."""
    lead = [demo.tokenizer.bos_id] if demo.bos == "context" else []
    rows = [demo.read(torch.tensor([[*lead, *window.tokens]]), [HOOK])[HOOK][0, len(lead) :] for window in windows]
    return torch.cat(rows).float()


def built(kind, x_TD):
    """A dictionary of random directions whose latents fire on some of the tokens."""
    make, config = {
        "topk": (topk.TopK, topk.Config(num_latents=LATENTS, k=5)),
        "hierarchical_topk": (
            hierarchical_topk.HierarchicalTopK,
            hierarchical_topk.Config(num_latents=LATENTS, k=8, k_used=3),
        ),
        "batch_topk": (batch_topk.BatchTopK, batch_topk.Config(num_latents=LATENTS, k=5)),
        "jumprelu": (jumprelu.JumpReLU, jumprelu.Config(num_latents=LATENTS)),
        "relu_l1": (relu_l1.ReluL1, relu_l1.Config(num_latents=LATENTS)),
        "gated": (gated.Gated, gated.Config(num_latents=LATENTS)),
        "matryoshka": (
            matryoshka.Matryoshka,
            matryoshka.Config(num_latents=LATENTS, activation=read_activation({"name": "topk", "k": 4})),
        ),
    }[kind]
    sae = make(config, x_TD.shape[1]).eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        sae.W_enc_FD.copy_(torch.nn.functional.normalize(torch.randn(LATENTS, x_TD.shape[1], generator=random), dim=1))
        sae.W_dec_FD.copy_(sae.W_enc_FD)
        sae.W_enc_FD.div_(((x_TD - x_TD.mean(0)) @ sae.W_enc_FD.T).std())  # scores of about 1
        sae.b_dec_D.copy_(x_TD.mean(0))
        if kind in {"relu_l1", "gated"}:
            sae.b_enc_F.fill_(-0.3)
        if kind == "jumprelu":
            sae.activation.threshold_F.copy_(torch.rand(LATENTS, generator=random) + 0.2)
        if kind == "batch_topk":
            sae.activation.threshold.fill_(0.7)
        if kind == "gated":
            sae.activation.b_mag_F.fill_(5.0)  # the gate alone decides
    sae.hook = HOOK
    return sae.requires_grad_(False)


KINDS = ["topk", "hierarchical_topk", "batch_topk", "jumprelu", "relu_l1", "gated", "matryoshka"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("feature", [0, 17])
def test_pre_activations_and_bars_token_by_token(kind, feature, demo, windows, x_TD):
    sae = built(kind, x_TD)
    found = near_misses(demo, sae, feature, windows, keep=10_000)
    codes_TF = sae.encode(x_TD).dense()
    starts = [0, len(windows[0].tokens), len(windows[0].tokens) + len(windows[1].tokens)]
    silent = set(torch.nonzero(codes_TF[:, feature] == 0)[:, 0].tolist())
    assert (found.tokens, found.fires) == (len(x_TD), len(x_TD) - len(silent))
    assert {starts[one.window] + one.token for one in found.nearest} == silent
    gaps = []
    for one in found.nearest:
        row = starts[one.window] + one.token
        z = float((x_TD[row] - sae.b_dec_D) @ sae.W_enc_FD[feature] + sae.b_enc_F[feature])
        assert one.pre_activation == pytest.approx(z, abs=1e-4)
        gaps.append(one.bar - one.pre_activation)
    assert gaps == sorted(gaps)
    assert found.typical_gap == pytest.approx(float(torch.tensor(gaps).median()), abs=1e-4)
    z_T = (x_TD - sae.b_dec_D) @ sae.W_enc_FD[feature] + sae.b_enc_F[feature]
    assert found.spread == pytest.approx(float(z_T.std(correction=0)), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bias_raised_by_the_gap_makes_it_fire(kind, demo, windows, x_TD):
    sae = built(kind, x_TD)
    feature = 3
    found = near_misses(demo, sae, feature, windows)
    starts = [0, len(windows[0].tokens), len(windows[0].tokens) + len(windows[1].tokens)]
    bias = float(sae.b_enc_F[feature])
    for one in found.nearest[:5]:
        row = starts[one.window] + one.token
        for lift, fires in ((0.999, False), (1.001, True)):
            sae.b_enc_F[feature] = bias + lift * (one.bar - one.pre_activation) + (1e-4 if fires else -1e-4)
            assert bool(sae.encode(x_TD[row : row + 1]).dense()[0, feature] > 0) == fires
        sae.b_enc_F[feature] = bias


@pytest.mark.parametrize(
    ("kind", "rule", "threshold"),
    [
        ("topk", "largest_k", None),
        ("matryoshka", "largest_k", None),
        ("batch_topk", "shared_threshold", 0.7),
        ("relu_l1", "zero", 0),
        ("gated", "gate", 0),
    ],
)
def test_the_bar_is_called_by_its_name(kind, rule, threshold, demo, windows, x_TD):
    found = near_misses(demo, built(kind, x_TD), 0, windows)
    assert (found.rule, found.threshold) == (rule, threshold and pytest.approx(threshold))


def test_a_threshold_of_its_own_is_told(demo, windows, x_TD):
    sae = built("jumprelu", x_TD)
    found = near_misses(demo, sae, 7, windows)
    assert (found.rule, found.threshold) == ("own_threshold", pytest.approx(float(sae.activation.threshold_F[7])))


def test_where_nothing_can_be_just_below_is_said(demo, windows):
    sae = matching_pursuit.MatchingPursuit(matching_pursuit.Config(num_latents=LATENTS, k=3), demo.width)
    sae.hook = HOOK
    with pytest.raises(InputError, match="one after another"):
        near_misses(demo, sae, 0, windows)
    with pytest.raises(InputError, match="features 0 to 39"):
        near_misses(demo, sae, LATENTS, windows)
