"""The model with features changed. Oracle: `reference`, dense and without a cache; or every bit of the model itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lexiscope import saes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.applying.source import codes_of
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, Cap, Clamp, Patch, Scale
from lexiscope.steer.strength import Units

from .conftest import HOOK, dictionary
from .reference import SPECIAL, dense_codes, steered_logits, steered_text

SILENT = 3
HOOK_BEFORE = HookPoint("resid_post", 0)
NOTHING = {
    "clamp of share 0": Clamp(features=[0, 1], to=50, share=0),
    "clamp of a silent feature to 0": Clamp(features=SILENT, to=0),
    "scale by 1": Scale(features=[0, 1, 2], by=1),
    "scale of a silent feature": Scale(features=SILENT, by=-7),
    "add 0": Add(features=[0, 1], by=0),
    "ablation of a silent feature": Ablate(features=SILENT),
    "resampling of a silent feature": Ablate(features=SILENT, to="resample", source="a b c"),
    "a high cap": Cap(features=[0, 1], to=1e9),
    "patch of share 0": Patch(source="a b c", share=0),
    "patch of a feature that is silent in both": Patch(source="a b c", features=SILENT, from_position=-1),
}


@pytest.fixture
def endless(every_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    monkeypatch.setattr(every_model, "_end_ids", set)
    return every_model


def test_what_changes_nothing_keeps_every_bit(endless, tokens_BC):
    """In every family, with and without a cache, greedy and drawn."""
    sae = dictionary(endless)
    topk = dictionary(endless, saes.topk.Config(num_latents=24, k=4))
    ways = [{"cache": cache, "temperature": heat, "seed": 5} for cache in (True, False) for heat in (0.0, 1.0)]
    clean = endless.logits(tokens_BC)
    texts = [endless.generate_tokens(tokens_BC, max_new_tokens=5, **way) for way in ways]
    for edited in (sae, topk):
        for name, nothing in NOTHING.items():
            with editing(endless, edited, nothing):
                assert torch.equal(endless.logits(tokens_BC), clean), name
                if edited is topk and not name.startswith("ablation"):
                    continue
                for way, text in zip(ways, texts, strict=True):
                    found = endless.generate_tokens(tokens_BC, max_new_tokens=5, **way)
                    assert torch.equal(found, text), (name, way)


@pytest.mark.parametrize("cache", [True, False])
def test_every_family_is_steered_as_the_reference_says(endless, tokens_BC, cache):
    sae = dictionary(endless)
    edits = [
        Clamp(features=[1, 4], to=9, tokens="generated"),
        Ablate(features=0, rows=1),
        Add(features=[5, 6], by=-3, positions="2:"),
        Scale(features=2, by=4, positions=[0, -1]),
    ]

    def change(f_F, row, place, prompt):
        if place >= prompt:
            f_F[[1, 4]] = 9
        if row == 1:
            f_F[0] = 0
        if place >= 2:
            f_F[[5, 6]] -= 3
        if place in (0, prompt - 1):
            f_F[2] *= 4
        return f_F

    with editing(endless, sae, edits):
        logits_BCV = endless.logits(tokens_BC)
        text = endless.generate_tokens(tokens_BC, max_new_tokens=6, cache=cache)
        drawn = endless.generate_tokens(tokens_BC, max_new_tokens=6, cache=cache, temperature=1.5, seed=11)
    expected = steered_logits(endless, sae, change, tokens_BC)
    torch.testing.assert_close(logits_BCV, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(logits_BCV, endless.logits(tokens_BC), atol=1e-2)
    assert torch.equal(text, steered_text(endless, sae, change, tokens_BC, 6, lambda logits: logits.argmax(-1)))
    random = torch.Generator().manual_seed(11)

    def draw(logits_BV):
        return torch.multinomial((logits_BV / 1.5).softmax(-1), 1, generator=random)[:, 0]

    assert torch.equal(drawn, steered_text(endless, sae, change, tokens_BC, 6, draw))


@pytest.mark.parametrize(
    "config",
    [
        saes.relu_l1.Config(num_latents=24),
        saes.jumprelu.Config(num_latents=24),
        saes.topk.Config(num_latents=24, k=4),
    ],
    ids=lambda config: config.architecture,
)
@pytest.mark.parametrize("drop", [False, True])
def test_each_kind_of_change(small, tokens_BC, config, drop):
    """Oracle: the dense codes, changed by hand."""
    sae = dictionary(small, config)
    with torch.no_grad():
        source_SF = dense_codes(sae, small.read(torch.tensor([[1, 3, 4, 5, 6, 7, 8, 9, 10, 11]]), [HOOK])[HOOK][0])
    sets = {
        "clamp": (Clamp(features=[2, 5], to=4), lambda f, place: f.index_fill(0, torch.tensor([2, 5]), 4.0)),
        "half a clamp": (
            Clamp(features=2, to=4, share=0.5),
            lambda f, place: f.index_copy(0, torch.tensor([2]), f[2:3] / 2 + 2),
        ),
        "ablate": (Ablate(features=[0, 1, 2]), lambda f, place: f.index_fill(0, torch.tensor([0, 1, 2]), 0.0)),
        "patch some": (
            Patch(source="a b c d e f g h i", features=[4, 6], from_position=-2),
            lambda f, place: f.index_copy(0, torch.tensor([4, 6]), source_SF[-2, [4, 6]]),
        ),
        "patch all": (Patch(source="a b c d e f g h i"), lambda f, place: source_SF[place]),
        "patch all from one": (Patch(source="a b c d e f g h i", from_position=2), lambda f, place: source_SF[2]),
        "patch all in part": (
            Patch(source="a b c d e f g h i", share=0.25),
            lambda f, place: f + (source_SF[place] - f) / 4,
        ),
    }
    for name, (edit, change) in sets.items():
        with editing(small, sae, edit, error="drop" if drop else "keep"):
            found = small.logits(tokens_BC)
        expected = steered_logits(
            small, sae, lambda f, row, place, prompt, change=change: change(f, place), tokens_BC, drop=drop
        )
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_resampling_draws_from_the_source_alone(small, tokens_BC):
    """Oracle: every activation afterwards is one of the source's; the same seed draws the same, cache or not."""
    sae = dictionary(small)
    with torch.no_grad():
        f_BCF = dense_codes(sae, small.read(tokens_BC, [HOOK])[HOOK].flatten(0, 1)).view(2, 9, -1)
        source_SF = codes_of(small, sae, "a b c d e").dense()[1:]
    feature = int(((f_BCF != 0).sum((0, 1)) * (source_SF.unique(dim=0).var(0) > 0)).argmax())
    seen = []

    def edits(seed):
        return Ablate(features=feature, to="resample", source="a b c d e", seed=seed)

    with editing(small, sae, edits(0)):
        x_BCD = small.read(tokens_BC, [HOOK])[HOOK]
        texts = [small.generate_tokens(tokens_BC, max_new_tokens=6, cache=cache) for cache in (True, False)]
    assert torch.equal(*texts)
    moved_BC = ((x_BCD - small.read(tokens_BC, [HOOK])[HOOK]) @ sae.W_dec_FD[feature].detach()) + f_BCF[..., feature]
    for value in moved_BC[f_BCF[..., feature] != 0].tolist():
        gaps = (source_SF[:, feature] - value).abs()
        assert gaps.min() < 1e-4
        seen.append(int(gaps.argmin()))
    assert len(set(seen)) > 1
    with editing(small, sae, edits(1)):
        assert not torch.equal(small.read(tokens_BC, [HOOK])[HOOK], x_BCD)


def test_a_projection_is_capped(small, tokens_BC):
    """Oracle: the projection of what the model has, before and after, on a text token and on BOS."""
    sae = dictionary(small)
    W_FD = sae.W_dec_FD.detach() * torch.linspace(0.5, 2, 24)[:, None]
    sae.W_dec_FD.data.copy_(W_FD)
    tokens_BC = torch.cat([torch.ones_like(tokens_BC[:, :1]), tokens_BC], 1)
    before_BCD = small.read(tokens_BC, [HOOK])[HOOK]
    size = W_FD[4].square().sum()
    projection_BC = before_BCD @ W_FD[4] / size
    to = float(projection_BC[:, 1:].median())
    with editing(small, sae, Cap(features=4, to=to)):
        after_BCD = small.read(tokens_BC, [HOOK])[HOOK]
    expected_BCD = before_BCD - (projection_BC - to).clamp(min=0)[..., None] * W_FD[4]
    expected_BCD[:, 0] = before_BCD[:, 0]
    torch.testing.assert_close(after_BCD, expected_BCD, rtol=1e-4, atol=1e-4)
    low_BC = projection_BC <= to
    assert low_BC.any()
    assert torch.equal(after_BCD[low_BC], before_BCD[low_BC])


def test_prompts_of_different_length(small, tokens_BC):
    """Oracle: each of them alone. The shorter is padded on the right, and its end is where it says."""
    sae = dictionary(small)
    padded_BC = tokens_BC.clone()
    padded_BC[1, 6:] = small.tokenizer.pad_id
    edits = [Clamp(features=1, to=7, positions=-1), Add(features=2, by=3, tokens="prompt", positions="-3:")]
    with editing(small, sae, edits, prompt_tokens=[9, 6]):
        both = small.logits(padded_BC)
    for row, length in enumerate((9, 6)):
        with editing(small, sae, edits):
            alone = small.logits(tokens_BC[row : row + 1, :length])
        torch.testing.assert_close(both[row, :length], alone[0])


def test_blocks_nest_and_leave_nothing_behind(small, tokens_BC):
    """Oracle: two changes of one block, where the dictionaries are the same and the changes are plain sums."""
    sae, clean = dictionary(small), small.logits(tokens_BC)
    with editing(small, sae, [Add(features=1, by=3), Add(features=2, by=-4)]):
        at_once = small.logits(tokens_BC)
    with editing(small, sae, Add(features=1, by=3)), editing(small, sae, Add(features=2, by=-4)):
        nested = small.logits(tokens_BC)
    torch.testing.assert_close(nested, at_once)
    assert torch.equal(small.logits(tokens_BC), clean)
    with editing(small, sae, []):
        assert torch.equal(small.logits(tokens_BC), clean)


def test_the_generate_of_transformers(small, tokens_BC, monkeypatch):
    """Oracle: our own loop. Positions come from the cache that transformers keeps, the prompt from its first pass."""
    monkeypatch.setattr(small, "_end_ids", set)
    sae = dictionary(small)
    edits = [
        Clamp(features=[1, 4], to=9, tokens="generated"),
        Clamp(features=[1, 4], to=5, positions=-1, tokens="prompt"),
    ]
    with editing(small, sae, edits):
        ours = small.generate_tokens(tokens_BC, max_new_tokens=6)
        theirs = small.module.generate(tokens_BC, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None)
    assert torch.equal(theirs[:, 9:], ours)


def test_half_precision_keeps_its_bits(tiny_folder, tokens_BC):
    """Oracle: a silent feature leaves every bit of bfloat16, an added direction is rounded once."""
    model = LanguageModel(tiny_folder("llama"), dtype="bfloat16")
    sae = dictionary(model)
    clean = model.read(tokens_BC, [HOOK])[HOOK]
    with editing(model, sae, [Ablate(features=SILENT), Scale(features=[0, 1], by=1)]):
        assert torch.equal(model.read(tokens_BC, [HOOK])[HOOK], clean)
    with editing(model, sae, Add(features=1, by=3)):
        found = model.read(tokens_BC, [HOOK])[HOOK]
    assert torch.equal(found, (clean.float() + 3 * sae.W_dec_FD[1].detach()).bfloat16())


def test_gradients_flow_past_what_is_added(small, tokens_BC):
    """Oracle: the gradient with the addition made by a plain splice."""
    sae = dictionary(small)

    def gradient(block):
        push_D = torch.zeros(16, requires_grad=True)
        with small.splice({HOOK_BEFORE: lambda x_BCD: x_BCD + push_D}), block:
            small.logits(tokens_BC, grad=True).square().sum().backward()
        return push_D.grad

    plain = small.splice({HOOK: lambda x_BCD: x_BCD + 3 * sae.W_dec_FD[1].detach()})
    torch.testing.assert_close(gradient(editing(small, sae, Add(features=1, by=3))), gradient(plain))


class KnownMeans(Units):
    """Stands in for an index: feature i has the mean (i + 1) / 10 and the maximum i + 1."""

    def __init__(self, num_features):
        self.index = SimpleNamespace(artifact=SimpleNamespace(source=lambda _: None), num_features=num_features)

    def activation(self, feature, strength):
        return strength.times * (feature + 1 if strength.unit == "max" else 1)

    def mean_over_tokens(self, feature):
        return (feature + 1) / 10

    def is_dead(self, feature):
        return feature == SILENT


def test_ablation_to_the_mean_is_where_the_feature_fires(small, tokens_BC):
    sae = dictionary(small)

    def change(f_F, row, place, prompt):
        for feature in (0, 1, 2):
            f_F[feature] = (feature + 1) / 10 if f_F[feature] else 0
        f_F[6] = 14
        return f_F

    edits = [Ablate(features=[0, 1, 2], to="mean"), Clamp(features=6, to="2max")]
    with editing(small, sae, edits, units=KnownMeans(24)):
        found = small.logits(tokens_BC)
    torch.testing.assert_close(found, steered_logits(small, sae, change, tokens_BC), rtol=1e-3, atol=1e-3)
    with editing(small, sae, Ablate(features=SILENT, to="mean"), units=KnownMeans(24), allow_dead=True):
        assert torch.equal(small.logits(tokens_BC), small.logits(tokens_BC))


@pytest.mark.parametrize("drop", [False, True])
def test_named_features_on_top_of_a_whole_set(small, tokens_BC, drop):
    """The order of the list does not matter to whole sets, which come first."""
    sae = dictionary(small)
    with torch.no_grad():
        source_F = dense_codes(sae, small.read(torch.tensor([[1, 3, 4]]), [HOOK])[HOOK][0])[-1]
    some = source_F.topk(3).indices.tolist()
    edits = [Scale(features=some, by=3), Patch(source="a b", from_position=-1, positions=":5")]

    def change(f_F, row, place, prompt):
        f_F = source_F.clone() if place < 5 else f_F
        f_F[some] *= 3
        return f_F

    with editing(small, sae, edits, error="drop" if drop else "keep"):
        found = small.logits(tokens_BC)
    expected = steered_logits(small, sae, change, tokens_BC, drop=drop)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("special", [False, True])
def test_special_tokens_are_left_alone_unless_they_are_meant(small, tokens_BC, special):
    """Oracle: the directions themselves, on BOS in front, a pad in the middle and plain tokens."""
    sae = dictionary(small)
    tokens_BC = tokens_BC.clone()
    tokens_BC[:, 0], tokens_BC[1, 4] = 1, 0
    before_BCD = small.read(tokens_BC, [HOOK])[HOOK]
    with editing(small, sae, [Add(features=1, by=3, special=special), Add(features=2, by=1, positions="1:")]):
        moved_BCD = small.read(tokens_BC, [HOOK])[HOOK] - before_BCD
    plain_BC = tokens_BC >= SPECIAL
    expected_BCD = 3.0 * (plain_BC | special)[..., None] * sae.W_dec_FD[1].detach()
    expected_BCD = expected_BCD + plain_BC[..., None] * sae.W_dec_FD[2].detach()
    torch.testing.assert_close(moved_BCD, expected_BCD, rtol=1e-4, atol=1e-5)


def test_nothing_is_drawn_from_bos(small, tokens_BC):
    """Oracle: a source of one word has one activation to draw."""
    sae = dictionary(small)
    codes_SF = codes_of(small, sae, "a").dense()
    with torch.no_grad():
        f_BCF = dense_codes(sae, small.read(tokens_BC, [HOOK])[HOOK].flatten(0, 1)).view(2, 9, -1)
    feature = int(((f_BCF != 0).sum((0, 1)) * (codes_SF[0] != codes_SF[1])).argmax())
    fires_BC = f_BCF[..., feature] != 0
    assert fires_BC.sum() > 3
    clean_BCD = small.read(tokens_BC, [HOOK])[HOOK]
    with editing(small, sae, Ablate(features=feature, to="resample", source="a")):
        moved_BCD = small.read(tokens_BC, [HOOK])[HOOK] - clean_BCD
    by_BC = fires_BC * (codes_SF[1, feature] - f_BCF[..., feature])
    torch.testing.assert_close(moved_BCD, by_BC[..., None] * sae.W_dec_FD[feature].detach(), rtol=1e-3, atol=1e-4)


def test_texts_of_different_length_in_one_block(small, tokens_BC):
    """Oracle: a block for each. Every text that is read at once is a prompt of its own length."""
    sae = dictionary(small)
    edit = Clamp(features=1, to=7, positions=-1)
    lengths = (9, 6, 8)
    with editing(small, sae, edit):
        together = [small.logits(tokens_BC[:, :length]) for length in lengths]
    for length, logits_BCV in zip(lengths, together, strict=True):
        with editing(small, sae, edit):
            assert torch.equal(small.logits(tokens_BC[:, :length]), logits_BCV)
        assert not torch.equal(small.logits(tokens_BC[:, :length]), logits_BCV)
