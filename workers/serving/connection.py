"""One connection of a browser or a program, with limits on its time.

uvicorn waits for ever for a request that does not come to its end, and for a reader who does not read. Some hundred such connections
would leave no place for anybody else, and nobody has to be signed in to open them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_REQUEST_S = 20.0  # a request has to be here, from its first byte to its last, or the first byte of a connection
# A large request gets this time anew with so many bytes. Only the routes that take photos read so much, of those who are signed in.
_PROGRESS_BYTES = 256 << 10
_UNREAD_S = 20.0  # so long an answer may wait for its reader
_STALLED_S = 0.5  # at the stop: an answer that nobody took anything of for so long is not waited for
_WHOLE = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)


class _Deadline:
    """Aborts a connection unless it is ended in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._began_at = 0.0

    def begin(self, transport: asyncio.Transport, seconds: float) -> None:
        """Begin to count, if it has not begun."""
        if self._timer is None:
            self._began_at = self._loop.time()
            self._timer = self._loop.call_later(seconds, transport.abort)

    def has_run(self, seconds: float) -> bool:
        """Whether it has been counting for so long."""
        return self._timer is not None and self._loop.time() >= self._began_at + seconds

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Connection(H11Protocol):
    """A connection that is closed if its request does not come, or if its answer is not read."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._received = 0
        self._request, self._unread = _Deadline(self.loop), _Deadline(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._request.begin(transport, _REQUEST_S)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received >= _PROGRESS_BYTES:  # somebody sends photos
            self._received = 0
            self._request.end()
        self._request.begin(self.transport, _REQUEST_S)
        super().data_received(data)
        if self.conn.their_state in _WHOLE:
            self._request.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread.begin(self.transport, _UNREAD_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread.end()

    def abort_if_stalled(self) -> None:
        """The process stops: whoever reads nothing of the answer does not hold it up."""
        if self._unread.has_run(_STALLED_S):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request.end()
        self._unread.end()
        super().connection_lost(exc)
