"""The jobs that requests have started: how far they are, what they gave."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from shared.records import Role
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.jobs import Job, JobState
from workers.dashboard.site import API, Needs, site_of
from workers.serving.problems import not_found

router = APIRouter(prefix=API, tags=["jobs"])

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]


class JobDocument(BaseModel):
    """`done`, `of`: how far it is. `fault`: why it failed. `result`: what it gave; null until it is done, and in the list."""

    id: str
    kind: str
    state: JobState
    started_at: str
    ended_at: str | None
    done: int
    of: int
    fault: str | None
    result: Any = None


class JobsPage(BaseModel):
    """The newest first. The last eight are kept, until the web process is restarted."""

    jobs: list[JobDocument]


def document_of(job: Job, *, with_result: bool) -> JobDocument:
    return JobDocument(**{**vars(job), "result": job.result if with_result else None})


def _find(request: Request, job_id: str) -> Job:
    job = site_of(request).jobs.find(job_id)
    if job is None:
        raise not_found("job", job_id)
    return job


@router.get("/jobs", response_model=JobsPage)
async def list_jobs(_: Operator, request: Request) -> JobsPage:
    """The jobs, newest first, without their results."""
    return JobsPage(jobs=[document_of(one, with_result=False) for one in site_of(request).jobs.newest_first()])


@router.get("/jobs/{job_id}", response_model=JobDocument)
async def job(job_id: str, _: Operator, request: Request) -> JobDocument:
    """One job, with its result once it is done."""
    return document_of(_find(request, job_id), with_result=True)


@router.delete("/jobs/{job_id}", response_model=JobDocument)
async def cancel(job_id: str, _: Operator, request: Request) -> JobDocument:
    """Cancel a job. One that has ended stays as it is."""
    found = _find(request, job_id)
    await site_of(request).jobs.cancel(found)
    return document_of(found, with_result=False)
