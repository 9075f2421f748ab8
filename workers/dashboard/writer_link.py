"""Requests to the writer from an event loop. The writer's client waits, so each request has a thread while it waits."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.errors import TemporaryError
from shared.ipc.client import SiteClient
from shared.ipc.requests import Answer_co, Request

_CONNECTIONS = 4  # to the writer; each has a thread
_PATIENCE_S = 2.0  # how long a request is tried again while the writer is being replaced
_WAIT_S = 30.0  # a browser does not wait longer
_MAX_WAITING = 256  # requests that wait for a thread


class WriterLink:
    """A few connections to the writer. Use it from one event loop."""

    def __init__(self, run_dir: Path) -> None:
        self._clients = deque(SiteClient(run_dir, patience_s=_PATIENCE_S) for _ in range(_CONNECTIONS))
        self._all = list(self._clients)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="writer-link")
        self._waiting = 0

    async def ask(self, request: Request[Answer_co]) -> Answer_co:
        """The answer to one request. Raises the error that the writer raised; TemporaryError if it does not answer in time, or if too many
        requests wait."""
        if self._waiting >= _MAX_WAITING:
            raise TemporaryError("too many requests wait for the site's writer", got=self._waiting, remedy="try again")
        self._waiting += 1
        try:
            asked = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, request)
            return await asyncio.wait_for(asked, _WAIT_S)
        except TimeoutError as error:
            raise TemporaryError(
                "the site's writer does not answer",
                got=f"nothing in {_WAIT_S:.0f} s",
                remedy="see: supervisor.py status",
            ) from error
        finally:
            self._waiting -= 1

    def _ask(self, request: Request[Answer_co]) -> Answer_co:
        client = self._clients.popleft()  # as many as threads
        try:
            return client.ask(request)
        finally:
            self._clients.append(client)

    def close(self) -> None:
        """Close the connections. Requests that wait give up."""
        for client in self._all:
            client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
