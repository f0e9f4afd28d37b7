"""The whole of training on a linear world whose features are known, in a few seconds."""

import json

import pytest
import torch

from lexiscope import saes
from lexiscope.core.errors import InputError, SelfCheckError
from lexiscope.saes import Batch
from lexiscope.train.check import fidelity
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.normalise import fit
from lexiscope.train.run import train
from lexiscope.train.trainer import Trainer

SHORT = TrainConfig(tokens=4_000, batch_tokens=400, log_every_steps=4, evaluate_every_steps=5)
LONG = TrainConfig(tokens=200_000, batch_tokens=500)
SMALL = saes.topk.Config(num_latents=64, k=3)


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "config",
    [
        saes.topk.Config(num_latents=64, k=3),
        saes.relu_l1.Config(num_latents=64, l1_coefficient=2.0),
        saes.relu_l1.Config(num_latents=64, l1_coefficient=2.0, penalty="decoder_norm"),
    ],
    ids=["topk", "l1", "decoder_norm"],
)
def test_planted_features_are_found(world, store, tmp_path, config):
    """Mean over features of the largest cosine to a learned direction; random directions reach about 0.55."""
    sae = train(store, config, LONG, out=tmp_path / "sae")
    assert world.recovery(saes.create(config, world.x_TD[:2000]).directions_FD) < 0.6
    assert world.recovery(sae.directions_FD) > 0.9


def test_what_is_saved_works_on_raw_activations_and_says_where_it_came_from(store, tmp_path):
    sae = train(store, SMALL, SHORT, out=tmp_path / "sae")
    again = saes.load(tmp_path / "sae")
    assert torch.equal(again(store.x_TD[:50]), sae(store.x_TD[:50]))
    manifest = json.loads((tmp_path / "sae" / "manifest.json").read_text())
    assert manifest["config"]["hook"] == "resid_post.0"
    assert manifest["config"]["sae"]["k"] == 3
    assert manifest["config"]["train"]["lr"] == manifest["choices"]["lr"]["value"]
    assert manifest["choices"]["lr"]["reason"]
    heldout = fidelity(sae, [store.x_TD[-2000:]])
    assert manifest["heldout"] == pytest.approx(heldout._asdict(), rel=1e-4)
    assert not [path for path in tmp_path.iterdir() if path.name != "sae"]


def test_metrics_are_logged_on_time_and_end_with_the_saved_fidelity(store, tmp_path):
    train(store, SMALL, SHORT, out=tmp_path / "sae")
    lines = read_metrics(tmp_path / "sae")
    assert [line["step"] for line in lines if "l0" in line] == [1, 5, 9, 10]
    assert [line["step"] for line in lines if "heldout/fvu" in line] == [5, 10]
    assert [line["tokens"] for line in lines if "tokens" in line] == [400, 2000, 3600, 4000]
    manifest = json.loads((tmp_path / "sae" / "manifest.json").read_text())
    assert lines[-1]["heldout/fvu"] == pytest.approx(manifest["heldout"]["fvu"], rel=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(store, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(name) + seed + 5)  # the global generator must not matter
        train(store, SMALL, SHORT.model_copy(update={"seed": seed}), out=tmp_path / name)
    a, b, c = ((tmp_path / name / "sae.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert (tmp_path / "a" / "metrics.jsonl").read_bytes() == (tmp_path / "b" / "metrics.jsonl").read_bytes()


def test_looking_never_changes_the_run(store, tmp_path):
    """Logging and evaluating at every step gives the same bytes as hardly ever."""
    often = SHORT.model_copy(update={"log_every_steps": 1, "evaluate_every_steps": 1})
    train(store, SMALL, SHORT, out=tmp_path / "seldom")
    train(store, SMALL, often, out=tmp_path / "often")
    weights = [(tmp_path / name / "sae.safetensors").read_bytes() for name in ("seldom", "often")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("terms", "survivors"), [([], range(1)), (["auxk"], range(18, 21))])
def test_auxk_revives_dead_latents(world, store, terms, survivors):
    """Planted: 20 latents whose encoder is too weak ever to be among the k largest. Only AuxK can bring them back."""
    asked = TrainConfig(tokens=60_000, batch_tokens=500, dead_after_tokens=5_000, terms=terms)
    config, _ = resolve(asked, SMALL, 24)
    units = fit(store.x_TD, "centre")
    sae = saes.create(SMALL, units(store.x_TD))
    with torch.no_grad():
        sae.W_enc_FD[:20] *= 0.01
    batches = (Batch.same(units(x_TD)) for x_TD in store.batches(store.hooks[0], batch_tokens=500, seed=0))
    trainer = Trainer(sae, config)
    for _ in range(config.steps):
        trainer.step(next(batches))
    assert (sae.encode(units(world.x_TD)).firings()[:20] > 0).sum() in survivors


def test_a_failed_self_check_leaves_nothing(store, tmp_path, monkeypatch):
    """Planted: weights that forget to take over the normalisation."""
    monkeypatch.setattr(saes.topk.TopK, "absorb", lambda *_: None)
    with pytest.raises(SelfCheckError):
        train(store, SMALL, SHORT, out=tmp_path / "sae")
    assert not list(tmp_path.iterdir())


def test_a_taken_folder_is_refused_before_training_starts(store, tmp_path):
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        train(store, SMALL, SHORT.model_copy(update={"tokens": 10**12}), out=tmp_path / "sae")
    assert (tmp_path / "sae" / "mine.txt").read_text() == "keep"


def test_a_baseline_is_not_trained(store, tmp_path):
    with pytest.raises(InputError, match="pca has nothing to train"):
        train(store, saes.pca.Config(), SHORT, out=tmp_path / "sae")


def test_progress_ends_at_the_tokens_promised(store, tmp_path):
    seen = []

    class Bar:
        def task(self, title, total, unit):
            seen.append((title, total, unit))
            return self

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def advance(self, amount, note=""):
            seen.append((amount, note))

    train(store, SMALL, SHORT, out=tmp_path / "sae", progress=Bar())
    assert seen[0] == ("Training", 4000, "tokens")
    assert sum(amount for amount, _ in seen[1:]) == 4000
    assert seen[-1][1].startswith("loss ")
