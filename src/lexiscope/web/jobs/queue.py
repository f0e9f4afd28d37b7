"""Jobs: long work that is started from the app, one at a time, each a `lexiscope` command in a process of its own.

    .lexiscope-jobs/7.json    what was asked for and how it goes; a new file each time, never a part of one
    .lexiscope-jobs/7.log     what the command said

A command is a verb of a fixed list and the folder of an artifact that lies under the folder that is shown; nothing else
that anybody sends or that a manifest says gets into it. Stopping is what Ctrl-C is, so that the same command goes on. A
job that ran when the app was killed goes on by itself and is watched again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from lexiscope.core.artifact import open_artifact
from lexiscope.core.disk import make_folder, write_text
from lexiscope.core.errors import ArtifactError, LexiscopeError, one_line
from lexiscope.core.lock import locked
from lexiscope.web.folder.survey import look
from lexiscope.web.jobs.job import (
    PREFIX,
    BusyError,
    Job,
    JobProgress,
    State,
    UnknownJobError,
    Verb,
    now,
    progress,
)
from lexiscope.web.jobs.process import Child, began, begin, interruptible_children

FOLDER = ".lexiscope-jobs"
_DONE = {
    "index": "The index is there; home shows it.",
    "measure": "The scorecard is there; the page of its dictionary shows it.",
    "verify": "Every byte is what was written.",
}
_MAKES = {"index": "index", "measure": "scorecard"}
_MOST_WAITING, _MOST_KEPT = 50, 100
_LOG_BYTES, _LOG_LINES = 64 * 1024, 40
_LOOK_SECONDS, _STOP_SECONDS = 0.2, 10.0
_INTERRUPTED = (130, 143, -signal.SIGINT, -signal.SIGTERM)


class Jobs:
    """The jobs of one folder. Nothing is written before there is one."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.folder = self.root / FOLDER
        self._turn = threading.RLock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def all(self) -> list[Job]:
        """Newest first. A file that can't be read is left out."""
        with contextlib.suppress(OSError):
            numbers = [int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdecimal()]
            return [job for number in sorted(numbers, reverse=True) if (job := self._read(number))]
        return []

    def log(self, job: Job) -> tuple[list[str], JobProgress | None]:
        """The last lines of what it said, and how far it is."""
        try:
            with (self.folder / f"{job.number}.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return [], None
        far = next((found for line in reversed(lines) if (found := progress(line))), None)
        said = [one_line(line, 500) for line in lines if line.strip() and not line.startswith(PREFIX)]
        return said[-_LOG_LINES:], far if job.state in {"running", "stopping"} else None

    def choices(self) -> dict[Verb, list[str]]:
        """What each verb can be asked of: paths relative to the folder that is shown."""
        found = look(self.root).found
        artifacts = [one.artifact for one in found if one.artifact]
        done = {
            (artifact.kind, source["fingerprint"])
            for artifact in artifacts
            for source in artifact.manifest["made_from"]
            if source["kind"] == "sae"
        }
        saes = [artifact for artifact in artifacts if artifact.kind == "sae"]
        without = {
            kind: [self._name(sae.path) for sae in saes if (kind, sae.fingerprint) not in done]
            for kind in ("index", "scorecard")
        }
        runs = {self._name(one.path).split("/")[0] for one in found}
        everything = sorted({*runs, *(self._name(one.path) for one in found)} - {"."})
        return {
            "index": without["index"],
            "measure": without["scorecard"],
            "verify": [".", *everything] if found else [],
        }

    def start(self, verb: Verb, path: str) -> Job:
        """Put a job into the queue.

        Raises:
            UnknownJobError: there is nothing of this kind at the path.
            BusyError: the same is under way already, or too much waits.
        """
        with self._turn:
            if not self._may_be_asked(verb, path):
                raise UnknownJobError(
                    f"there is nothing at {path!r} that {verb} could be asked of; choose from the list"
                )
            jobs = self.all()
            if any(job.active and (job.verb, job.path) == (verb, path) for job in jobs):
                raise BusyError(f"{verb} of {path} is under way already; wait for it or stop it")
            if sum(job.active for job in jobs) >= _MOST_WAITING:
                raise BusyError("too many jobs wait already; stop some, or wait")
            make_folder(self.folder)
            for old in [job for job in jobs if not job.active][_MOST_KEPT:]:
                for suffix in ("json", "log"):
                    (self.folder / f"{old.number}.{suffix}").unlink(missing_ok=True)
            number = max((job.number for job in jobs), default=0) + 1
            return self._write(Job(number=number, verb=verb, path=path, state="waiting", asked=now()))

    def stop(self, number: int) -> Job:
        """Ask a job to end at its next checkpoint, as Ctrl-C does. One that has ended stays as it is.

        Raises:
            UnknownJobError: there is no such job.
        """
        with self._turn:
            job = self.get(number)
            if job.state == "waiting":
                return self._end(job, "stopped", "It was taken out of the queue.")
            if job.state == "running" and job.is_alive:
                assert job.process is not None
                os.kill(job.process, signal.SIGINT)
                return self._write(job.model_copy(update={"state": "stopping"}))
            return job

    def resume(self, number: int) -> Job:
        """The same command again, which goes on where it stopped.

        Raises:
            UnknownJobError: there is no such job.
            BusyError: it has not ended.
        """
        job = self.get(number)
        if job.active:
            raise BusyError(f"job {number} has not ended; stop it first")
        return self.start(job.verb, job.path)

    def get(self, number: int) -> Job:
        """Raises UnknownJobError."""
        job = self._read(number)
        if job is None:
            raise UnknownJobError(f"there is no job {number}; it may be too old to be kept")
        return job

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Within the block jobs are worked on, one at a time; at its end the running one is stopped."""
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        with interruptible_children():
            self._thread.start()
            try:
                yield
            finally:
                self._closing.set()
                self._thread.join(timeout=_STOP_SECONDS + 10 * _LOOK_SECONDS)  # it waits that long itself, then writes

    def _work(self) -> None:
        while not self._closing.wait(_LOOK_SECONDS):
            if any(job.active for job in self.all()):
                # Another app that shows the same folder may be at it; then this one looks on.
                with contextlib.suppress(LexiscopeError, OSError), locked(self.folder, "the queue of jobs"):
                    self._work_off()

    def _work_off(self) -> None:
        """All that waits; first what was running when the app ended."""
        for job in reversed(self.all()):
            if job.state in {"running", "stopping"}:
                self._watch(job, None)
        while not self._closing.is_set():
            with self._turn:
                waiting = [job for job in self.all() if job.state == "waiting"]
                if not waiting:
                    return
                job, child = self._begin(waiting[-1])
            if child is not None:
                self._watch(job, child)

    def command(self, job: Job) -> list[str]:
        """What is run. The path begins with a slash, so that nothing takes it for an option."""
        return [sys.executable, "-m", "lexiscope.cli.main", job.verb, str(self.root / job.path)]

    def _begin(self, job: Job) -> tuple[Job, Child | None]:
        if not self._may_be_asked(job.verb, job.path):  # it was moved away since, or a stranger wrote this file
            return self._end(
                job, "failed", f"There is nothing at {job.path!r} that {job.verb} could be asked of."
            ), None
        try:
            with (self.folder / f"{job.number}.log").open("wb") as log:
                child = begin(self.command(job), log, self.root)
        except OSError as error:
            return self._end(job, "failed", f"It could not be started: {error.strerror}."), None
        update = {"state": "running", "process": child.pid, "process_began": began(child.pid)}
        return self._write(job.model_copy(update=update)), child

    def _watch(self, job: Job, child: Child | None) -> None:
        """Until it ends. One that this app did not start has no exit code to ask for."""
        asked_at: float | None = None
        while (child.poll() is None) if child else job.is_alive:
            if self._closing.wait(_LOOK_SECONDS):
                if asked_at is None:
                    asked_at = time.monotonic()
                    self.stop(job.number)
                if time.monotonic() - asked_at > _STOP_SECONDS:
                    return  # it goes on by itself, and is watched again by the next app
                time.sleep(_LOOK_SECONDS)
        with self._turn:
            self._finish(self.get(job.number), child.returncode if child else None)

    def _finish(self, job: Job, code: int | None) -> None:
        lines, _ = self.log(job)
        last = next((line for line in reversed(lines) if line.startswith("lexiscope: ")), "").removeprefix(
            "lexiscope: "
        )
        if code == 0 or (code is None and self._is_made(job)):
            self._end(job, "done", _DONE[job.verb])
        elif code is None:
            self._end(
                job,
                "stopped",
                "Lexiscope ended while it ran; resumed, the same command goes on, from a checkpoint if it has one.",
            )
        elif code in _INTERRUPTED or (job.state == "stopping" and not last):  # before it could say anything
            self._end(
                job, "stopped", "It was stopped; resumed, the same command goes on, from a checkpoint if it has one."
            )
        elif code < 0:
            self._end(
                job,
                "failed",
                f"It was killed (signal {-code}); resumed, the same command goes on, from a checkpoint if it has one.",
            )
        else:
            self._end(job, "failed", f"{last[:1].upper()}{last[1:]}." if last else f"It ended with exit code {code}.")

    def _is_made(self, job: Job) -> bool:
        """Whether what a job was to make is there."""
        kind = _MAKES.get(job.verb)
        try:
            return kind is not None and bool(open_artifact((self.root / job.path).parent / kind, kind))
        except ArtifactError:
            return False

    def _may_be_asked(self, verb: Verb, path: str) -> bool:
        """Whether it is a choice, or an SAE that has what the verb makes: the command does nothing, or says why not."""
        if path in self.choices()[verb]:
            return True
        artifacts = [one.artifact for one in look(self.root).found if one.artifact]
        return verb in _MAKES and path in [self._name(one.path) for one in artifacts if one.kind == "sae"]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _end(self, job: Job, state: State, said: str) -> Job:
        update = {"state": state, "said": said, "ended": now(), "process": None, "process_began": ""}
        return self._write(job.model_copy(update=update))

    def _write(self, job: Job) -> Job:
        write_text(self.folder / f"{job.number}.json", job.model_dump_json(indent=1))
        return job

    def _read(self, number: int) -> Job | None:
        try:
            return Job.model_validate_json((self.folder / f"{number}.json").read_bytes())
        except (OSError, ValidationError):
            return None
