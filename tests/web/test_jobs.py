"""Work that is started from the app. Oracles: processes of the system, files on the disk, and commands made for a test
that do what a command may do: end well or badly, say how far they are, run on until they are asked to stop.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.web.app import create_app
from lexiscope.web.jobs.job import UnknownJobError
from lexiscope.web.jobs.queue import FOLDER, Jobs
from lexiscope.web.pages.jobs import JobsView
from lexiscope.web.security.access import Access

BASE = "http://127.0.0.1:8765"
SECONDS = 30.0
UNTIL_STOPPED = """
import signal, sys, time
def stop(*_):
    print("lexiscope: stopped at step 3", flush=True)
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
print('progress {"title": "Indexing", "done": 30.0, "total": 120.0, "unit": "tokens"}', flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def root(tmp_path):
    with write_artifact(tmp_path / "run" / "sae", "sae", config={"sae": {"architecture": "topk"}}) as draft:
        (draft.path / "sae.safetensors").write_bytes(b"weights")
    return tmp_path


class Scripted(Jobs):
    """Runs a script in the place of a command."""

    script = "pass"

    def command(self, job):
        return [sys.executable, "-c", self.script, *super().command(job)[3:]]


def wait_for(jobs: Jobs, number: int, *states: str):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if (job := jobs.get(number)).state in states:
            return job
        time.sleep(0.02)
    raise AssertionError(f"{jobs.get(number)} is none of {states}: {jobs.log(jobs.get(number))}")


def test_verify_is_the_command_of_that_name(root):
    jobs = Jobs(root)
    with jobs.working():
        good = jobs.start("verify", ".")
        assert wait_for(jobs, good.number, "done", "failed").state == "done"
        assert any(line.startswith("whole") for line in jobs.log(good)[0])
        (root / "run" / "sae" / "sae.safetensors").write_bytes(b"WEIGHTS")
        bad = wait_for(jobs, jobs.start("verify", "run/sae").number, "done", "failed")
    assert bad.state == "failed"
    assert bad.said == "1 of 1 artifacts are damaged, as said above."
    assert bad.process is None


def test_progress_is_read_from_lines_of_the_command(root):
    """Written by the real progress of the command line."""
    jobs = Scripted(root)
    jobs.script = (
        "from lexiscope.cli.console import ConsoleProgress; import time\n"
        "with ConsoleProgress().task('Reading', 40, 'rows') as task:\n"
        "    for _ in range(4): task.advance(10); time.sleep(0.3)\n"
        "time.sleep(60)\n"
    )
    with jobs.working():
        job = jobs.start("index", "run/sae")
        wait_for(jobs, job.number, "running")
        end = time.monotonic() + SECONDS
        while (progress := jobs.log(jobs.get(job.number))[1]) is None or progress.done < 20:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert (progress.title, progress.total, progress.unit) == ("Reading", 40, "rows")
        assert "Reading ..." in jobs.log(job)[0]
        assert not [line for line in jobs.log(job)[0] if line.startswith("progress")]
    assert jobs.get(job.number).state == "stopped"


def test_stop_is_an_interrupt_and_resume_the_same_command(root):
    jobs = Scripted(root)
    jobs.script = UNTIL_STOPPED
    with jobs.working():
        job = wait_for(jobs, jobs.start("index", "run/sae").number, "running")
        end = time.monotonic() + SECONDS
        while jobs.log(job)[1] is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert jobs.stop(job.number).state == "stopping"
        assert "resumed, the same command goes on" in wait_for(jobs, job.number, "stopped").said
        assert "lexiscope: stopped at step 3" in jobs.log(job)[0]
        jobs.script = "pass"
        again = jobs.resume(job.number)
        assert (again.verb, again.path) == (job.verb, job.path)
        assert wait_for(jobs, again.number, "done").number == job.number + 1


def test_an_app_that_ignores_interrupts_can_stop_its_jobs(root):
    """As one does that a script ran with ``&``: the command must not inherit that."""
    jobs = Scripted(root)
    jobs.script = "import time; time.sleep(60)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with jobs.working():
            job = wait_for(jobs, jobs.start("index", "run/sae").number, "running")
            jobs.stop(job.number)
            assert wait_for(jobs, job.number, "stopped")
            os.kill(os.getpid(), signal.SIGINT)  # still ignored here
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_one_runs_and_the_others_wait_in_order(root):
    jobs = Scripted(root)
    jobs.script = UNTIL_STOPPED
    with jobs.working():
        numbers = [jobs.start(verb, "run/sae").number for verb in ("index", "measure", "verify")]
        wait_for(jobs, numbers[0], "running")
        assert [jobs.get(number).state for number in numbers[1:]] == ["waiting", "waiting"]
        assert jobs.stop(numbers[1]).state == "stopped"
        jobs.stop(numbers[0])
        wait_for(jobs, numbers[2], "running")
    assert [jobs.get(number).state for number in numbers] == ["stopped"] * 3


def test_closing_the_app_stops_what_runs(root):
    jobs = Scripted(root)
    jobs.script = UNTIL_STOPPED
    with jobs.working():
        job = wait_for(jobs, jobs.start("index", "run/sae").number, "running")
        process = job.process
    assert jobs.get(job.number).state == "stopped"
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_jobs import Scripted, UNTIL_STOPPED
jobs = Scripted(Path({root!r}))
jobs.script = UNTIL_STOPPED
with jobs.working():
    jobs.start("index", "run/sae")
    jobs.start("verify", ".")
    time.sleep(600)
"""


def test_a_killed_app_finds_its_jobs_again(root):
    """kill -9 of the app: the running command goes on, the next app watches it and then works off what waits."""
    script = KILLED.format(tests=str(Path(__file__).parent), root=str(root))
    app = subprocess.Popen([sys.executable, "-c", script])
    jobs = Scripted(root)
    end = time.monotonic() + SECONDS
    while not (len(jobs.all()) == 2 and jobs.all()[1].state == "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    app.send_signal(signal.SIGKILL)
    app.wait()
    running = jobs.get(1)
    os.kill(running.process, 0)  # it lives
    with jobs.working():
        time.sleep(0.5)
        assert jobs.get(1) == running
        assert jobs.get(2).state == "waiting"
        jobs.stop(1)
        assert wait_for(jobs, 1, "stopped").said.startswith("Lexiscope ended while it ran")
        assert wait_for(jobs, 2, "done")


def test_a_job_whose_process_is_gone_is_stopped_and_not_another_process_signalled(root):
    jobs = Jobs(root)
    job = jobs.start("index", "run/sae")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    said = json.loads((root / FOLDER / "1.json").read_text())
    said |= {"state": "running", "process": bystander.pid, "process_began": "1"}
    (root / FOLDER / "1.json").write_text(json.dumps(said))
    assert jobs.stop(job.number).state == "running"
    assert bystander.poll() is None
    with jobs.working():
        wait_for(jobs, job.number, "stopped")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("index", "."),
        ("index", "run"),
        ("index", "run/../run/sae"),
        ("index", "/etc"),
        ("index", "--help"),
        ("index", "run/sae/"),
        ("verify", ".."),
        ("verify", ""),
        ("verify", "run/other"),
        ("measure", "run/store"),
    ],
)
def test_only_what_is_there_can_be_asked_of(root, verb, path):
    jobs = Jobs(root)
    with pytest.raises(InputError, match="choose from the list"):
        jobs.start(verb, path)
    assert not (root / FOLDER).exists()


def test_the_same_twice_and_too_many_are_refused(root):
    jobs = Jobs(root)
    jobs.start("index", "run/sae")
    with pytest.raises(InputError, match="under way already"):
        jobs.start("index", "run/sae")
    with pytest.raises(InputError, match="has not ended"):
        jobs.resume(1)
    with pytest.raises(UnknownJobError):
        jobs.stop(9)


def test_files_that_are_no_jobs_are_passed_over(root):
    jobs = Jobs(root)
    jobs.start("index", "run/sae")
    for name, text in {"2.json": "{", "3.json": '{"number": 3, "verb": "rm"}', "x.json": "{}"}.items():
        (root / FOLDER / name).write_text(text)
    assert [job.number for job in jobs.all()] == [1]


@pytest.mark.parametrize("path", ["/etc", "../run/sae", "run/store", "--help"])
def test_a_job_that_a_stranger_put_into_the_folder_leads_nowhere_else(root, path):
    """The files of the queue come along with a run folder that somebody passes on."""
    jobs = Scripted(root)
    jobs.start("index", "run/sae")
    said = json.loads((root / FOLDER / "1.json").read_text())
    (root / FOLDER / "1.json").write_text(json.dumps({**said, "path": path}))
    with jobs.working():
        job = wait_for(jobs, 1, "failed", "done")
    assert (job.state, job.said) == ("failed", f"There is nothing at {path!r} that index could be asked of.")
    assert not (root / FOLDER / "1.log").exists()


def test_choices_are_what_is_missing(root):
    assert Jobs(root).choices() == {"index": ["run/sae"], "measure": ["run/sae"], "verify": [".", "run", "run/sae"]}
    sae = open_artifact(root / "run" / "sae", "sae")
    with write_artifact(root / "run" / "scorecard", "scorecard", config={}, made_from=[sae]) as draft:
        (draft.path / "scorecard.json").write_text("{}")
    assert Jobs(root).choices()["measure"] == []


def test_the_page_and_what_it_sends(root):
    client = TestClient(create_app(root), base_url=BASE)
    assert "Nothing was started yet" in client.get("/jobs").text
    sent = client.post("/jobs/start.json", json={"verb": "index", "path": "run/sae"})
    assert (sent.status_code, sent.json()["state"]) == (200, "waiting")
    assert client.post("/jobs/1/stop.json", json={}).json()["state"] == "stopped"
    assert client.post("/jobs/1/resume.json", json={}).json()["number"] == 2
    view = JobsView.model_validate_json(client.get("/jobs.json").text)
    assert [(shown.job.number, shown.job.state) for shown in view.jobs] == [(2, "waiting"), (1, "stopped")]
    assert "Index run/sae" in client.get("/jobs").text
    for url, body, status in [
        ("/jobs/start.json", {"verb": "rm", "path": "run/sae"}, 422),
        ("/jobs/start.json", {"verb": "index", "path": "run/sae", "more": 1}, 422),
        ("/jobs/start.json", {"verb": "index", "path": "../x"}, 404),
        ("/jobs/start.json", {"verb": "index", "path": "run/sae"}, 409),
        ("/jobs/2/resume.json", {}, 409),
        ("/jobs/7/stop.json", {}, 404),
        ("/jobs/2/stop.json", {"force": True}, 422),
    ]:
        assert client.post(url, json=body).status_code == status
    other_site = client.post("/jobs/start.json", json={"verb": "verify", "path": "."}, headers={"origin": "http://a.b"})
    assert other_site.status_code == 403


def test_nothing_is_started_where_nothing_may_be_changed(root):
    client = TestClient(create_app(root, access=Access.at(port=8765, read_only=True)), base_url=BASE)
    assert client.post("/jobs/start.json", json={"verb": "verify", "path": "."}).status_code == 403
    page = client.get("/jobs").text
    assert "<form" not in page
    assert "read-only" in page
    assert not (root / FOLDER).exists()


def test_what_a_command_says_stays_text(root):
    client = TestClient(create_app(root), base_url=BASE)
    client.post("/jobs/start.json", json={"verb": "index", "path": "run/sae"})
    (root / FOLDER / "1.log").write_text("<script>alert(1)</script>\n\x1b[31m\u202ered\nprogress {broken\n")
    page = client.get("/jobs").text
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert client.get("/jobs.json").json()["jobs"][0]["progress"] is None


def test_what_is_stopped_before_it_can_say_anything_was_stopped(root):
    """A signal that comes while Python still starts ends it in whatever way."""
    jobs = Scripted(root)
    jobs.script = "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(1))\ntime.sleep(60)\n"
    with jobs.working():
        job = wait_for(jobs, jobs.start("index", "run/sae").number, "running")
        time.sleep(0.5)
        jobs.stop(job.number)
        assert "resumed" in wait_for(jobs, job.number, "stopped").said
