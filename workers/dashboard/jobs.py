"""Long work that a request starts and does not wait for: one at a time, with its progress, until it is done, failed or cancelled.

Jobs are kept in memory, the last few of them: after a restart of this process there is none.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from shared.errors import RollcallError

_log = logging.getLogger("web")
_MAX_KEPT = 8

Progress = Callable[[int, int], None]
Work = Callable[[Progress], Awaitable[Any]]


class JobState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass
class Job:
    """`done`, `of`: how far it is; both 0 before anything is known. `fault`: why it failed. `result`: the answer, once it is done."""

    id: str
    kind: str
    state: JobState
    started_at: str
    ended_at: str | None = None
    done: int = 0
    of: int = 0
    fault: str | None = None
    result: Any = None


class Jobs:
    """The jobs of this process. Use it from one event loop."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running: tuple[Job, asyncio.Task[None]] | None = None

    @property
    def running(self) -> Job | None:
        return None if self._running is None else self._running[0]

    def start(self, kind: str, work: Work) -> Job:
        """Start a job. The caller has looked that none is running. `work` is called with the function that takes its progress."""
        assert self._running is None
        job = Job(secrets.token_hex(8), kind, JobState.RUNNING, _now())
        self._jobs[job.id] = job
        while len(self._jobs) > _MAX_KEPT:
            self._jobs.popitem(last=False)
        task = asyncio.create_task(_run(job, work))
        self._running = job, task
        task.add_done_callback(lambda ended: self._end(job, ended))
        return job

    def _end(self, job: Job, task: asyncio.Task[None]) -> None:
        self._running = None
        job.ended_at = _now()
        if task.cancelled():
            job.state = JobState.CANCELLED
        elif task.exception() is not None:  # a bug
            job.state, job.fault = JobState.FAILED, "a fault in Rollcall"
            _log.error("job %s failed", job.kind, exc_info=task.exception())

    def find(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def newest_first(self) -> list[Job]:
        return list(reversed(self._jobs.values()))

    async def cancel(self, job: Job) -> None:
        """Cancel the job if it runs, and wait until it has ended."""
        if self._running is not None and self._running[0] is job:
            task = self._running[1]
            task.cancel()
            await asyncio.wait([task])


async def _run(job: Job, work: Work) -> None:
    def progress(done: int, of: int) -> None:
        job.done, job.of = done, of

    try:
        job.result = await work(progress)
        job.state = JobState.DONE
    except RollcallError as error:
        job.state, job.fault = JobState.FAILED, error.line()


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
