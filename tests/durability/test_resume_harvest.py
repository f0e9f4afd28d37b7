"""A harvest that is broken off goes on with the same bytes. Oracle: the same harvest without a break."""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from tests.harvest.conftest import FakeCorpus, FakeModel, byte_tokenizer

from lexiscope.core.checkpoint import Keeping
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.stop import Stopped
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.store import ActivationStore
from lexiscope.text.document import Document
from lexiscope.text.tokenizer import FastTokenizer

HOOKS = ["resid_post.1", "mlp_out.0"]
EVERY = Keeping(every_steps=1)


class Killed(BaseException):
    """Nothing in the package may catch it."""


class Killer:
    """A progress bar that breaks the harvest off, or does something else, when it has seen so many batches."""

    def __init__(self, batches, then=None):
        self.left, self.then = batches, then

    def task(self, *_, **__):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount, note=""):
        self.left -= 1
        if self.left == 0:
            if self.then is None:
                raise Killed
            self.then()


@pytest.fixture
def model():
    return FakeModel(FastTokenizer(byte_tokenizer(), bos_id=256), {"resid_post.1": 6, "mlp_out.0": 3})


@pytest.fixture
def documents():
    return [Document(f"fake:{n}", f"Text {n} " * (n % 7 + 1), "prose", "CC0-1.0") for n in range(60)]


def run(model, documents, out, *, killer=None, tokens=1700, **other):
    with suppress(Killed):
        harvest(
            model,
            FakeCorpus(documents),
            HOOKS,
            out=out,
            **{"tokens": tokens, "context": 24, "batch": 4, "shard_tokens": 200, "keeping": EVERY, **other},
            **({"progress": killer} if killer else {}),
        )


def contents(folder: Path):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(one: Path, other: Path) -> bool:
    a, b = contents(one), contents(other)
    manifests = [files.pop(Path("manifest.json")) for files in (a, b)]
    fingerprints = [ActivationStore.open(path).artifact.fingerprint for path in (one, other)]
    return a == b and all(manifests) and fingerprints[0] == fingerprints[1]


@pytest.mark.parametrize("tokens", [1700, 10**6], ids=["as many as asked for", "the corpus ends early"])
@pytest.mark.parametrize("killed_after", [1, 2, 5, 11, 17])
def test_two_breaks_change_no_byte_and_the_model_does_not_run_again(model, documents, tmp_path, killed_after, tokens):
    run(model, documents, tmp_path / "whole", tokens=tokens)
    whole, model.forwards = model.forwards, 0
    run(model, documents, tmp_path / "broken", killer=Killer(killed_after), tokens=tokens)
    assert not (tmp_path / "broken").exists()
    run(model, documents, tmp_path / "broken", killer=Killer(killed_after + 1), tokens=tokens)
    run(model, documents, tmp_path / "broken", tokens=tokens)
    assert same(tmp_path / "broken", tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]
    assert model.forwards <= whole + 4  # what was under way twice


def test_what_came_after_the_last_checkpoint_is_done_again(model, documents, tmp_path):
    run(model, documents, tmp_path / "whole")
    run(model, documents, tmp_path / "broken", killer=Killer(11), keeping=Keeping(every_steps=4))
    run(model, documents, tmp_path / "broken")
    assert same(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(model, documents, tmp_path, number):
    run(model, documents, tmp_path / "whole")
    killer = Killer(6, lambda: signal.raise_signal(number))
    with pytest.raises(Stopped, match=r"stopped after a checkpoint at \d+ tokens; the same command") as stopped:
        run(model, documents, tmp_path / "broken", killer=killer, keeping=Keeping())
    assert stopped.value.exit_code == 128 + number
    run(model, documents, tmp_path / "broken")
    assert same(tmp_path / "broken", tmp_path / "whole")


def test_another_text_is_refused(model, documents, tmp_path):
    run(model, documents, tmp_path / "broken", killer=Killer(9))
    changed = [*documents[:3], Document("fake:3", "Other text", "prose", "CC0-1.0"), *documents[4:]]
    for other in (changed, documents[:5]):
        with pytest.raises(
            InputError, match=r"the corpus or its tokens are not what they were.*remove .*\.broken\.work"
        ):
            run(model, other, tmp_path / "broken")
    run(model, documents, tmp_path / "broken")


def test_another_model_is_refused(model, documents, tmp_path):
    run(model, documents, tmp_path / "broken", killer=Killer(9))
    model.fingerprint = "0" * 64
    with pytest.raises(InputError, match="a run with other settings was interrupted here .*model.fingerprint"):
        run(model, documents, tmp_path / "broken")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("shard", [0, -1], ids=["finished", "open"])
def test_damaged_shards_are_found(model, documents, tmp_path, damage, shard):
    """Those that are open when going on, at once by their hash; finished ones by their size, and by verify."""
    run(model, documents, tmp_path / "broken", killer=Killer(9))
    path = sorted((tmp_path / ".broken.work" / "draft" / "activations" / "resid_post.1").iterdir())[shard]
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[300] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:300])
    else:
        path.unlink()
    if (damage, shard) == ("flip", 0):
        run(model, documents, tmp_path / "broken")
        with pytest.raises(ArtifactError, match=r"00000\.safetensors is damaged"):
            ActivationStore.open(tmp_path / "broken").artifact.verify()
    else:
        with pytest.raises(ArtifactError, match=f"{path.name} is .*damaged, so the harvest can't go on"):
            run(model, documents, tmp_path / "broken")
        shutil.rmtree(tmp_path / ".broken.work")
        run(model, documents, tmp_path / "broken")
