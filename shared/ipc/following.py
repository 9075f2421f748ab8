"""Sightings as the writer keeps them, handed on in order, each once, also across a writer's restart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from shared.errors import RollcallError
from shared.ipc.client import SiteClient, follow

_RETRY_S = 0.2
_LAST_WORDS_S = 5.0


class EventStream:
    """Calls `on_event` on a thread for every sighting kept while the context is open; leaving waits for the last ones.

    Leave it after the writer was stopped: the stream ends when the writer, drained, closes the connection.
    """

    def __init__(self, run_dir: Path, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._run_dir, self._on_event = run_dir, on_event
        self._leaving, self._began = threading.Event(), threading.Event()
        self._last_id = 0
        self._thread = threading.Thread(target=self._follow, name="event-stream", daemon=True)

    def __enter__(self) -> EventStream:
        self._thread.start()
        return self

    @property
    def following(self) -> bool:
        """Whether every sighting from now on will be told."""
        return self._began.is_set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join(_LAST_WORDS_S)

    def _begin(self) -> None:
        """Find the last sighting there is. Asked here, not on the caller's thread, which a writer that hangs would hold up."""
        client = SiteClient(self._run_dir, patience_s=0.0)
        try:
            self._last_id = int(client.call("events", limit=0)["last_id"])
            self._began.set()
        finally:
            client.close()

    def _follow(self) -> None:
        while True:
            try:
                if not self.following:
                    self._begin()
                for event in follow(self._run_dir, self._last_id, None):
                    self._last_id = event["id"]
                    self._on_event(event)
            except (OSError, RollcallError):
                pass  # the writer is being replaced, or has stopped for good
            if self._leaving.wait(_RETRY_S):
                return
