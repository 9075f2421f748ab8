"""Sends a camera's sightings to the writer. A thread sends them from a queue, so that the camera never waits."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from shared.errors import RollcallError, TemporaryError
from shared.events import Event
from shared.ipc.client import RETRY_S, SiteClient
from shared.ipc.requests.sightings import Record

# An hour of a busy camera. When the queue is full, the oldest events are dropped.
_MAX_QUEUED_EVENTS = 20_000
# An event with pictures of strangers has 60 KB, and a message holds 16 MiB.
_MAX_SENT_AT_ONCE = 50
_GIVE_UP_S = 5.0

_log = logging.getLogger("event-sender")


class EventSender:
    """Sends sightings to the writer. `record` queues them and returns. A thread sends them, and retries while the writer is away."""

    def __init__(self, run_dir: Path) -> None:
        self._client = SiteClient(run_dir, patience_s=0.0)
        self._queue: deque[Event] = deque(maxlen=_MAX_QUEUED_EVENTS)
        self._changed = threading.Condition()
        self._closing = False
        self.dropped = 0  # events that will never reach the writer
        self._thread = threading.Thread(target=self._send_loop, name="event-sender", daemon=True)
        self._thread.start()

    def record(self, events: Sequence[Event]) -> None:
        """Queue sightings for the writer. Never blocks. If the queue is full, the oldest are dropped and counted in `dropped`."""
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
        """Wait until all queued events are acknowledged. Returns False if `timeout_s` passes first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout_s)

    def close(self) -> None:
        """Stop sending. Events that are still queued are lost: call `flush` first."""
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
            refused = self._send(batch)
            with self._changed:
                if refused is None:
                    self._changed.wait_for(lambda: self._closing, RETRY_S)
                    continue
                # A full queue may have dropped events of this batch meanwhile. Therefore events are removed by their keys.
                keys = {event.key for event in batch}
                dropped = len(batch)
                while self._queue and self._queue[0].key in keys:
                    self._queue.popleft()
                    dropped -= 1
                self.dropped += refused - dropped  # events that the queue dropped, but that were sent
                self._changed.notify_all()

    def _send(self, batch: Sequence[Event]) -> int | None:
        """Send a batch. Returns how many events the writer refused for good; None if the writer could not be reached."""
        try:
            refused = self._client.ask(Record([event.to_json() for event in batch])).refused
        except TemporaryError:
            return None
        except RollcallError as error:
            _log.error("the writer refused %d sightings: %s", len(batch), error)
            return len(batch)
        if refused:
            _log.error("the writer refused %d of %d sightings: %s", len(refused), len(batch), refused[0])
        return len(refused)
