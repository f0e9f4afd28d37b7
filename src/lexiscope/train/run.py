"""train and sweep: from a store of activations and settings to saved autoencoders, each batch read once.

T tokens, D model width, F latents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lexiscope.core.errors import InputError, LexiscopeError, SweepError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.stop import Asked, Stopped, stoppable
from lexiscope.saes import SparseAutoencoder
from lexiscope.saes.settings import SaeConfig
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.member import Member, Plan
from lexiscope.train.source import ActivationSource, Hooks, Sites, choose_sites
from lexiscope.train.spikes import Recovery
from lexiscope.train.stream import Stream


def train(
    store: ActivationSource,
    sae_config: SaeConfig,
    train_config: TrainConfig = TrainConfig(),  # noqa: B008  frozen
    *,
    hook: Hooks = None,
    target: Hooks = None,
    out: Path | str,
    recovery: Recovery = Recovery(),  # noqa: B008
    progress: Progress = SILENT,
) -> SparseAutoencoder:
    """Train an autoencoder and save it, with its metrics, as an artifact of kind "sae" at ``out``.

    The same store, settings and number of threads give the same bytes of weights. The same call goes on where one that
    was interrupted wrote its last checkpoint, and ends with the same bytes as one without a break.

    Args:
        store: activations on disk or live.
        hook: which of its hook points to read; may be left out if there is one. Several for a crosscoder.
        target: which to write, for a transcoder. None: the same.
        recovery: checkpoints, and what becomes of spikes.

    Raises:
        InputError: ``out`` is taken, no such hook, nothing to train or to train on, or an interrupted run of other
            settings is at ``out``.
        TrainingError: a loss is not finite; nothing is at ``out``, checkpoints stay.
        SelfCheckError: the saved weights do not do what the trained ones did; nothing is at ``out``.
        DiskError: the disk is full or failed.
        Stopped: by Ctrl-C or SIGTERM, after a checkpoint.
    """
    sites = choose_sites(store, hook, target)
    plan = make_plan(store, sites, sae_config, train_config, Path(out), recovery)
    (sae,), _ = _learn([plan], Stream(store, sites, plan.train), progress, stop=True)
    return sae


def sweep(
    store: ActivationSource,
    members: Mapping[str, tuple[SaeConfig, TrainConfig]],
    *,
    hook: Hooks = None,
    target: Hooks = None,
    out: Path | str,
    recovery: Recovery = Recovery(),  # noqa: B008
    progress: Progress = SILENT,
) -> dict[str, SparseAutoencoder]:
    """Train autoencoders with different settings side by side on one stream of activations; each as `train` would.

    Member ``name`` is saved at ``out / name``, with the same weights as if it had been trained alone. A member that
    fails is left out, and the others are saved before the error is raised. Members that were interrupted go on.

    Raises:
        InputError: a folder is taken, members want different batches, or an interrupted run was another one.
        SweepError: some members failed; it names them.
    """
    sites = choose_sites(store, hook, target)
    plans = [
        make_plan(store, sites, sae_config, train_config, Path(out) / name, recovery)
        for name, (sae_config, train_config) in members.items()
    ]
    _check_one_stream(plans)
    saes, failures = _learn(plans, Stream(store, sites, plans[0].train), progress, stop=False)
    if failures:
        listed = "; ".join(f"{plan.out.name}: {error}" for plan, error in failures)
        raise SweepError(f"{len(failures)} of {len(plans)} runs failed, the others are saved. {listed}")
    return dict(zip(members, saes, strict=True))


def make_plan(
    store: ActivationSource,
    sites: Sites,
    sae_config: SaeConfig,
    train_config: TrainConfig,
    out: Path,
    recovery: Recovery = Recovery(),  # noqa: B008
) -> Plan:
    """Settings with everything chosen.

    Raises:
        InputError: the architecture does not read and write so.
    """
    read_widths, _ = sites.widths(store)
    sae_config = sae_config.for_sites(*sites, read_widths)
    config, choices = resolve(train_config, sae_config, sum(read_widths))
    return Plan(sae_config, config, choices, out, recovery)


SHARED = ("batch_tokens", "heldout_tokens", "data_seed")
"""Settings on which the stream depends."""


def _check_one_stream(plans: Sequence[Plan]) -> None:
    if not plans:
        raise InputError("a sweep needs at least one member")
    for name in SHARED:
        if len(different := {getattr(plan.train, name) for plan in plans}) > 1:
            hint = "; give optimise.data_seed to vary only the weights" if name == "data_seed" else ""
            raise InputError(f"members of a sweep share {name}, but these want {sorted(different)}{hint}")


def _learn(
    plans: Sequence[Plan], stream: Stream, progress: Progress, *, stop: bool
) -> tuple[list[SparseAutoencoder], list[tuple[Plan, LexiscopeError]]]:
    """Autoencoders in the order of the plans, and the plans that failed. ``stop``: raise the first failure at once."""
    members: list[Member] = []
    failures: list[tuple[Plan, LexiscopeError]] = []

    @contextmanager
    def alone(member: Member) -> Iterator[None]:
        """What fails in here is this member's failure only."""
        try:
            yield
        except LexiscopeError as error:
            member.abandon(error)
            members.remove(member)
            if stop:
                raise
            failures.append((member.plan, error))

    try:
        with (
            stoppable() as asked,
            progress.task("Training", total=sum(plan.train.tokens for plan in plans), unit="tokens") as task,
        ):
            for plan in plans:
                members.append(Member(plan, stream, task))  # noqa: PERF401  one that fails must find the others here
            stream.forget_sample()
            first = min(member.first_batch for member in members)
            for number, batches in stream.batches({plan.train.normalise for plan in plans}, first):
                for member in members.copy():
                    with alone(member):
                        member.take(number, batches)
                if all(member.done for member in members):
                    break
                if asked:
                    _stop(members, asked)
        saved: list[SparseAutoencoder] = []
        for member in members.copy():
            with alone(member):
                saved.append(member.finish())
    except BaseException as error:
        for member in members:
            member.abandon(error)
        raise
    return saved, failures


def _stop(members: Sequence[Member], asked: Asked) -> None:
    """Write a checkpoint of every member that is not done.

    Raises:
        Stopped: always.
    """
    for member in members:
        member.save()
    steps = ", ".join(f"{member.plan.out.name} at step {member.trainer.steps_done:,}" for member in members)
    raise Stopped(f"stopped after a checkpoint ({steps}); the same command goes on from there", asked.signal_number)
