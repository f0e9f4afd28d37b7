"""Jobs: long work that was started from the app, how far it is, and what could be started."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from lexiscope.web.jobs.job import Job, JobProgress, Verb
from lexiscope.web.jobs.queue import Jobs
from lexiscope.web.view import View

PATH = "/jobs"
TEMPLATE = "jobs.html"


class ShownJob(View):
    job: Job
    progress: JobProgress | None
    log: list[str]
    """The last lines of what the command said."""


class JobsView(View):
    jobs: list[ShownJob]
    """Newest first."""
    choices: dict[Verb, list[str]]
    """What can be started: SAEs without an index or a scorecard, and folders to verify."""
    read_only: bool


def jobs(request: Request) -> Jobs:
    found: Jobs = request.app.state.jobs
    return found


AnyJobs = Annotated[Jobs, Depends(jobs)]


def read(request: Request, found: AnyJobs) -> JobsView:
    shown = []
    for job in found.all():
        log, progress = found.log(job)
        shown.append(ShownJob(job=job, progress=progress, log=log))
    return JobsView(jobs=shown, choices=found.choices(), read_only=request.app.state.read_only)
