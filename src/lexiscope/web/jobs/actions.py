"""What the page of jobs sends: start, stop, resume. Each gives the job as it is then."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from lexiscope.web.actions import Action
from lexiscope.web.jobs.job import Job, Verb
from lexiscope.web.pages.jobs import AnyJobs

Number = Annotated[int, Field(ge=0, lt=2**31)]


class Asked(BaseModel):
    """A verb, and what it is asked of."""

    model_config = ConfigDict(extra="forbid")

    verb: Verb
    path: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")


class Nothing(BaseModel):
    """No more than the address says."""

    model_config = ConfigDict(extra="forbid")


def start_job(found: AnyJobs, asked: Asked) -> Job:
    """Put work into the queue."""
    return found.start(asked.verb, asked.path)


def stop_job(found: AnyJobs, job: int, nothing: Nothing) -> Job:
    """Ask a job to end where it can go on."""
    del nothing
    return found.stop(job)


def resume_job(found: AnyJobs, job: int, nothing: Nothing) -> Job:
    """Put the same work into the queue again."""
    del nothing
    return found.resume(job)


JOB_ACTIONS = (
    Action("/jobs/start.json", start_job),
    Action("/jobs/{job:int}/stop.json", stop_job),
    Action("/jobs/{job:int}/resume.json", resume_job),
)
