"""The client of the writer. It sends a request and waits for the answer."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any, cast

from shared.errors import RollcallError, TemporaryError
from shared.ipc import wire
from shared.ipc.requests.base import Answer_co, Request
from shared.ipc.requests.site import Status

REQUEST_TIMEOUT_S = 60.0
_WHOLE_GALLERY_TIMEOUT_S = 3600.0
RETRY_S = 0.2


def site_is_running(run_dir: Path) -> bool:
    """Whether a writer listens on this run folder's socket."""
    try:
        wire.connect(run_dir, 2.0).close()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False
    except (TimeoutError, BlockingIOError):
        return True  # the socket exists, but its queue of new connections is full
    return True


class NoAnswerError(TemporaryError):
    """No writer answers: it is being replaced, or it hangs, or no site runs."""


class SiteClient:
    """Sends requests to a running site, one at a time. Many threads may share a client."""

    def __init__(self, run_dir: Path, *, patience_s: float = 15.0) -> None:
        """`patience_s`: how long a request is retried while the writer is being replaced."""
        self._run_dir, self._patience_s = run_dir, patience_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._connection: socket.socket | None = None
        self._buffer = wire.MessageBuffer()

    def ask(self, request: Request[Answer_co]) -> Answer_co:
        """The answer to one request. Raises the error that the writer raised, or NoAnswerError if there is no writer.

        If the connection breaks, the client connects again and repeats the request. A repeated request counts once, since saves carry
        UUIDs and sightings carry keys. A request that is `sent_once` is never repeated, since the writer may have done it already.
        """
        arguments, blob = request.to_wire()
        answer = self._exchange(request.op, arguments, blob, once=request.sent_once)
        return cast(Answer_co, request.answer.from_json(answer))

    def ask_to_reload(self) -> None:
        """Make the running supervisor read its settings again (SIGHUP). Its pid is in the site's status."""
        site = self.ask(Status()).site
        if site is not None and site.pid > 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(site.pid, signal.SIGHUP)

    def _exchange(self, op: str, arguments: dict[str, Any], blob: bytes | memoryview, *, once: bool) -> dict[str, Any]:
        message = wire.encode({"op": op, "arguments": arguments}, blob)
        wire.require_within_limits(len(message) - len(blob), len(blob))
        deadline = time.monotonic() + self._patience_s
        with self._lock:
            if once:
                self._drop()  # An idle connection may be dead. A fresh one shows whether the request was sent.
            while True:
                sent = False
                try:
                    connection = self._connected(_WHOLE_GALLERY_TIMEOUT_S if once else REQUEST_TIMEOUT_S)
                    sent = once
                    connection.sendall(message)
                    answer = wire.receive(connection, self._buffer)[0]
                    break
                except (OSError, ConnectionError) as error:
                    self._drop()
                    if sent:
                        raise TemporaryError(
                            "the connection to the site broke before the answer; the request may have been done",
                            where=op,
                            got=str(error),
                            remedy="see whether it was done (supervisor.py status, people, models) before you try again",
                        ) from error
                    if time.monotonic() >= deadline or self._closed.is_set():
                        raise NoAnswerError(
                            "the site does not answer",
                            where=str(wire.socket_path(self._run_dir)),
                            got=str(error),
                            remedy="see: supervisor.py status, and the journal",
                        ) from error
                    self._closed.wait(RETRY_S)
                except RollcallError:
                    self._drop()  # the rest of this connection's data can't be read
                    raise
        wire.raise_error(answer)
        return answer

    def _connected(self, timeout_s: float) -> socket.socket:
        if self._connection is None:
            self._connection = wire.connect(self._run_dir, timeout_s)
            self._buffer = wire.MessageBuffer()
        self._connection.settimeout(timeout_s)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection. A request that waits for its answer, or is being retried, gives up."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):  # another thread has closed it meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._drop()
