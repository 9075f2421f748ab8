"""Requests to the writer from an event loop. The writer's client waits, so each request has a thread while it waits.

When the writer did not answer one request, those of the next second are refused at once. Otherwise each would wait in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.errors import TemporaryError
from shared.ipc.client import NoAnswerError, SiteClient
from shared.ipc.requests.base import Answer_co, Request

_CONNECTIONS = 4  # to the writer; each has a thread
_PATIENCE_S = 2.0  # how long a request is tried again while the writer is being replaced
_WAIT_S = 30.0  # a browser does not wait longer
_MAX_WAITING = 256  # requests that wait for a thread
_AWAY_S = 1.0  # how long the writer is taken to be away after it did not answer


class WriterLink:
    """A few connections to the writer. Use it from one event loop."""

    def __init__(self, run_dir: Path) -> None:
        self._clients = deque(SiteClient(run_dir, patience_s=_PATIENCE_S) for _ in range(_CONNECTIONS))
        self._all = list(self._clients)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="writer-link")
        self._waiting = 0
        self._away_until = 0.0

    async def ask(self, request: Request[Answer_co], wait_s: float = _WAIT_S) -> Answer_co:
        """The answer to one request, at most `wait_s` later.

        Raises the error that the writer raised; TemporaryError if it does not answer in time, or if too many requests wait.
        """
        if self._waiting >= _MAX_WAITING:
            raise TemporaryError("too many requests wait for the site's writer", got=self._waiting, remedy="try again")
        self._waiting += 1
        try:
            asked = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, request)
            return await asyncio.wait_for(asked, wait_s)
        except TimeoutError as error:
            self._away_until = time.monotonic() + _AWAY_S
            raise _no_answer() from error
        finally:
            self._waiting -= 1

    def _ask(self, request: Request[Answer_co]) -> Answer_co:
        if time.monotonic() < self._away_until:
            raise _no_answer()
        client = self._clients.popleft()  # as many as threads
        try:
            return client.ask(request)
        except NoAnswerError:
            self._away_until = time.monotonic() + _AWAY_S
            raise
        finally:
            self._clients.append(client)

    def close(self) -> None:
        """Close the connections. Requests that wait give up."""
        for client in self._all:
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _no_answer() -> NoAnswerError:
    return NoAnswerError("the site's writer does not answer", remedy="try again, and see: supervisor.py status")
