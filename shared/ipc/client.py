"""Clients of the writer: requests that wait for their answer, and sightings that never make a camera wait."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

from shared.errors import RollcallError, TemporaryError
from shared.ipc import wire
from shared.uuid7 import new_uuids

REQUEST_TIMEOUT_S = 60.0
# What changes the whole gallery takes long, and must not be done a second time because the answer to the first got lost.
_WHOLE_GALLERY = frozenset({"restore", "switch_model"})
_WHOLE_GALLERY_TIMEOUT_S = 3600.0
RETRY_S = 0.2
_CLOSE_S = 2.0  # a writer that hangs must not keep a camera from stopping; the thread dies with the process


def site_is_running(run_dir: Path) -> bool:
    """Whether a writer listens on this run folder's socket."""
    try:
        wire.connect(run_dir, 2.0).close()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False
    except (TimeoutError, BlockingIOError):
        return True  # so many wait for it that it can't be connected to now
    return True


class SiteClient:
    """Requests to a running site, each answered before the next; safe from many threads."""

    def __init__(self, run_dir: Path, *, patience_s: float = 15.0) -> None:
        """`patience_s`: how long a request is tried again while the writer is being replaced."""
        self._run_dir, self._patience_s = run_dir, patience_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._connection: socket.socket | None = None
        self._buffer = wire.FrameBuffer()

    def call(self, op: str, blob: bytes | memoryview = b"", **arguments: Any) -> dict[str, Any]:
        """The answer to one operation. Raises what the writer raised, or TemporaryError when there is no writer.

        A connection that breaks is made anew and the request repeated: saves carry uuids and sightings keys, so that a
        repeated one counts once. What changes the whole gallery is sent once, and never again: then it may have been done.
        """
        frame = wire.encode({"op": op, "arguments": arguments}, blob)
        wire.require_within_limits(len(frame) - len(blob), len(blob))
        deadline = time.monotonic() + self._patience_s
        with self._lock:
            if op in _WHOLE_GALLERY:
                self._drop()  # one that was idle may be gone: a fresh one tells whether the request got through
            while True:
                sent = False
                try:
                    connection = self._connected(
                        _WHOLE_GALLERY_TIMEOUT_S if op in _WHOLE_GALLERY else REQUEST_TIMEOUT_S
                    )
                    sent = op in _WHOLE_GALLERY
                    connection.sendall(frame)
                    answer = wire.receive(connection, self._buffer)[0]
                    break
                except (OSError, ConnectionError) as error:
                    self._drop()
                    if sent:
                        raise TemporaryError(
                            "the site broke off before it answered; it may have been done",
                            where=op,
                            got=str(error),
                            remedy="see what there is (supervisor.py status, people, models) before you ask again",
                        ) from error
                    if time.monotonic() >= deadline or self._closed.is_set():
                        raise TemporaryError(
                            "the site does not answer",
                            where=str(wire.socket_path(self._run_dir)),
                            got=str(error),
                            remedy="see: supervisor.py status, and the journal",
                        ) from error
                    self._closed.wait(RETRY_S)
                except RollcallError:
                    self._drop()  # what else is on this connection can't be read
                    raise
        wire.raise_error(answer)
        return answer

    def _connected(self, timeout_s: float) -> socket.socket:
        if self._connection is None:
            self._connection = wire.connect(self._run_dir, timeout_s)
            self._buffer = wire.FrameBuffer()
        self._connection.settimeout(timeout_s)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let go of the connection; a request that waits for its answer, or is being tried again, gives up."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):  # closed meanwhile by who used it
                connection.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._drop()


def save_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` with a uuid each, so that sending them twice saves them once."""
    return [{"uuid": one, **row} for one, row in zip(new_uuids(len(rows)), rows, strict=True)]
