"""uvicorn as a child of ours: each turn of its loop is a heartbeat, and the child's signals stop it."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from shared.status import ChildState, ChildStatus
from shared.supervision.child import Child
from workers.serving.connection import Connection

_KEEP_ALIVE_S = 15
# Answers that are being sent when the process is asked to stop get this time.
_GRACE_S = 2
_MAX_CONNECTIONS = 600  # more are answered 503 at once
_MAX_HEAD_BYTES = 64 << 10  # of a request's first line and headers


class Server(uvicorn.Server):
    """Serves one application on one socket until the child is asked to stop."""

    def __init__(self, app: ASGIApp, child: Child, *, tls: ssl.SSLContext | None, on_stop: Callable[[], None]) -> None:
        """`on_stop`: called at the beginning of the stop, so that streams end themselves."""
        # It tells each start and stop, as the supervisor does, and warns of each request that is no HTTP: anybody could fill the log.
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,  # addresses hold names, and whoever needs a log of accesses has one in the proxy
                proxy_headers=False,  # the gate decides whom to believe
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
                h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
                ssl_context_factory=None if tls is None else (lambda *_: tls),
            )
        )
        self._child, self._on_stop = child, on_stop

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second, from uvicorn's loop. Returns whether to stop."""
        self._child.heartbeat(ChildStatus(state=ChildState.RUNNING))
        self.should_exit = self.should_exit or self._child.stopping
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, and let those that are being answered finish."""
        self._on_stop()
        for one in list(self.server_state.connections):
            if isinstance(one, Connection):
                one.abort_if_stalled()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The child has its own handlers."""
        yield
