"""Calibration as a job: the command `calibrate` in a process of its own, which has the memory and the time for it."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import TemporaryError
from shared.records import Role
from shared.settings.schema import LEAST_STRANGERS_NAMED, MOST_STRANGERS_NAMED, Settings
from workers.dashboard.commands import document_of, printed_by, running
from workers.dashboard.doorkeeper import Visitor
from workers.dashboard.job_routes import JobDocument
from workers.dashboard.job_routes import document_of as job_document
from workers.dashboard.jobs import Progress
from workers.dashboard.site import API, Needs, site_of
from workers.serving.problems import busy

router = APIRouter(prefix=API, tags=["jobs"])
_WAIT_S = 1800.0

Operator = Annotated[Visitor, Depends(Needs(Role.OPERATOR))]


class CalibrationWanted(BaseModel):
    """`strangers_named`: the share of strangers that may get a name; null: that of the settings. `apart`: never take two people for one
    person under two names."""

    model_config = ConfigDict(extra="forbid")

    strangers_named: Annotated[float | None, Field(ge=LEAST_STRANGERS_NAMED, le=MOST_STRANGERS_NAMED)] = None
    apart: bool = False


@router.post("/calibrate", response_model=JobDocument, status_code=HTTPStatus.ACCEPTED)
async def calibrate(given: CalibrationWanted, _: Operator, request: Request, response: Response) -> JobDocument:
    """Start to measure what each threshold would name, from the gallery's own photos. `result` of the job is what `calibrate --json` prints."""
    site = site_of(request)
    if site.jobs.running is not None:
        raise busy("a job is running, one at a time; cancel it, or wait for its end")
    words = ["calibrate", "--progress"]
    if given.strangers_named is not None:
        words += ["--fmr", repr(given.strangers_named)]
    if given.apart:
        words.append("--apart")
    job = site.jobs.start("calibrate", lambda progress: _measured(site.settings, words, progress))
    response.headers["Location"] = f"{site.settings.web.base_path}{API}/jobs/{job.id}"
    return job_document(job, with_result=False)


async def _measured(settings: Settings, words: list[str], progress: Progress) -> Any:
    try:
        async with asyncio.timeout(_WAIT_S), running(settings, *words, errors=asyncio.subprocess.PIPE) as process:
            assert process.stderr is not None  # a pipe, as asked for
            told = asyncio.create_task(_tell(process.stderr, progress))
            try:
                printed = await printed_by(process)
                code = await process.wait()
            finally:
                told.cancel()
    except TimeoutError:
        raise TemporaryError("the site is too busy for this", where="calibrate", remedy="try again") from None
    return document_of(printed, code, "calibrate")


async def _tell(lines: asyncio.StreamReader, progress: Progress) -> None:
    """Pass on the progress. Other lines are warnings for a person at a terminal."""
    async for line in lines:
        if line.startswith(b'{"done"'):
            found = json.loads(line)
            progress(int(found["done"]), int(found["of"]))
