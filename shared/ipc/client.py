"""Clients of the writer: requests that wait for their answer, and sightings that never make a camera wait."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import RollcallError, TemporaryError
from shared.ipc import wire
from shared.uuid7 import new_uuids

REQUEST_TIMEOUT_S = 60.0
# What changes the whole gallery takes long, and must not be done a second time because the answer to the first got lost.
_WHOLE_GALLERY = frozenset({"restore", "switch_model"})
_WHOLE_GALLERY_TIMEOUT_S = 3600.0
_RETRY_S = 0.2
_MAX_QUEUED_EVENTS = 20_000  # an hour of a busy camera; beyond it the oldest go
_MAX_SENT_AT_ONCE = 50  # with pictures of strangers 60 KB each; a frame holds 16 MiB
_CLOSE_S = 2.0  # a writer that hangs must not keep a camera from stopping; the thread dies with the process
_GIVE_UP_S = 5.0

_log = logging.getLogger("writer-client")


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
                    self._closed.wait(_RETRY_S)
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


def follow(run_dir: Path, after_id: int, timeout_s: float | None) -> Iterator[dict[str, Any]]:
    """Sightings with id > `after_id`, as they come, until the site stops (ConnectionError) or `timeout_s` passes without one."""
    connection = wire.connect(run_dir, REQUEST_TIMEOUT_S)
    try:
        connection.sendall(wire.encode({"op": "follow", "arguments": {"after_id": after_id}}))
        connection.settimeout(timeout_s)
        buffer = wire.FrameBuffer()
        while True:
            document, _ = wire.receive(connection, buffer)
            wire.raise_error(document)
            yield from document["events"]
    finally:
        connection.close()


class WriterClient:
    """A camera's way to the writer: `record` queues and returns; a thread sends, and sends again after a restart."""

    def __init__(self, run_dir: Path) -> None:
        self._client = SiteClient(run_dir, patience_s=0.0)
        self._queue: deque[dict[str, Any]] = deque(maxlen=_MAX_QUEUED_EVENTS)
        self._changed = threading.Condition()
        self._closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._send_loop, name="writer-client", daemon=True)
        self._thread.start()

    def record(self, events: list[dict[str, Any]]) -> None:
        """Queue sightings for the writer. Never blocks; with a full queue the oldest go, counted in `dropped`."""
        if not events:
            return
        with self._changed:
            self.dropped += max(0, len(self._queue) + len(events) - _MAX_QUEUED_EVENTS)
            self._queue.extend(events)
            self._changed.notify_all()

    @property
    def backlog(self) -> int:
        return len(self._queue)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is acknowledged; False when `timeout_s` passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout_s)

    def close(self) -> None:
        """Stop sending; what is still queued is given up (flush first)."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._client.close()
        self._thread.join(_GIVE_UP_S)

    def _send_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    return
                batch = list(self._queue)[:_MAX_SENT_AT_ONCE]
            sent = self._send(batch)
            with self._changed:
                if sent:
                    # The queue may have dropped its oldest meanwhile: take out by identity of the key, not by count.
                    keys = {event["key"] for event in batch}
                    while self._queue and self._queue[0]["key"] in keys:
                        self._queue.popleft()
                    self._changed.notify_all()
                else:
                    self._changed.wait_for(lambda: self._closing, _RETRY_S)

    def _send(self, batch: list[dict[str, Any]]) -> bool:
        try:
            refused = self._client.call("record", events=batch)["refused"]
            if refused:
                self.dropped += len(refused)
                _log.error("the writer refused %d of %d sightings: %s", len(refused), len(batch), refused[0])
        except TemporaryError:
            return False
        except RollcallError as error:  # refused for good: sending it again would be refused again
            self.dropped += len(batch)
            _log.error("the writer refused %d sightings: %s", len(batch), error)
        return True
