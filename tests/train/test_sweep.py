"""A sweep against the same runs made one by one: the same bytes; failures leave the others whole."""

import pytest

from lexiscope import saes
from lexiscope.core.errors import InputError, SelfCheckError, SweepError
from lexiscope.train import TrainConfig, sweep, train

SHORT = TrainConfig(tokens=4_000, batch_tokens=400, heldout_tokens=1000)
MEMBERS = {
    "k3": (saes.topk.Config(num_latents=64, k=3), SHORT),
    "k5": (saes.topk.Config(num_latents=32, k=5), SHORT.model_copy(update={"lr": 1e-3})),
    "relu": (saes.relu_l1.Config(num_latents=48), SHORT.model_copy(update={"normalise": "scale", "tokens": 2_000})),
    "seed": (saes.topk.Config(num_latents=64, k=3), SHORT.model_copy(update={"seed": 7, "data_seed": 0})),
}


def test_members_are_what_they_would_be_alone(store, tmp_path):
    together = sweep(store, MEMBERS, out=tmp_path / "sweep")
    assert list(together) == list(MEMBERS)
    for name, (sae_config, train_config) in MEMBERS.items():
        train(store, sae_config, train_config, out=tmp_path / name)
        for file in ("sae.safetensors", "metrics.jsonl"):
            assert (tmp_path / "sweep" / name / file).read_bytes() == (tmp_path / name / file).read_bytes(), name
        assert saes.load(tmp_path / "sweep" / name).config == together[name].config == sae_config


def test_each_batch_is_read_once(store, tmp_path):
    read = []

    class Counting(type(store)):
        def batches(self, hook, **arguments):
            for x_TD in super().batches(hook, **arguments):
                read.append(len(x_TD))
                yield x_TD

    train(Counting(store.x_TD), *MEMBERS["k3"], out=tmp_path / "one")
    alone, read = len(read), []
    sweep(Counting(store.x_TD), MEMBERS, out=tmp_path / "all")
    assert len(read) == alone


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch_tokens": 200}, "share batch_tokens"), ({"seed": 3}, "give optimise.data_seed"), (None, "at least one")],
)
def test_members_that_want_other_batches_are_refused(store, tmp_path, change, message):
    members = {} if change is None else {**MEMBERS, "odd": (MEMBERS["k3"][0], SHORT.model_copy(update=change))}
    with pytest.raises(InputError, match=message):
        sweep(store, members, out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_a_taken_folder_stops_it_before_it_starts(store, tmp_path):
    (tmp_path / "sweep" / "k5").mkdir(parents=True)
    (tmp_path / "sweep" / "k5" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="k5 exists already"):
        sweep(store, MEMBERS, out=tmp_path / "sweep")
    assert [path.name for path in (tmp_path / "sweep").iterdir() if path.name != "tensorboard"] == ["k5"]


def test_a_failure_leaves_the_others(store, tmp_path, monkeypatch):
    """Planted: ReLU's weights forget to take over the normalisation."""
    monkeypatch.setattr(saes.relu_l1.ReluL1, "absorb", lambda *_: None)
    with pytest.raises(SweepError, match="1 of 4 runs failed, the others are saved. relu: the saved autoencoder has"):
        sweep(store, MEMBERS, out=tmp_path / "sweep")
    assert sorted(p.name for p in (tmp_path / "sweep").iterdir() if p.name != "tensorboard") == ["k3", "k5", "seed"]
    with pytest.raises(SelfCheckError):
        train(store, *MEMBERS["relu"], out=tmp_path / "relu")
