"""Sends the supervisor's status to the writer, so that `status` needs to ask only the writer. Once a second, and sooner at a change."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from shared.errors import RollcallError
from shared.ipc.client import SiteClient
from shared.ipc.requests.site import PutStatus
from shared.status import SiteSnapshot

_EVERY_S = 1.0
_MIN_INTERVAL_S = 0.1  # a camera that often goes up and down must not keep the writer busy


class StatusReporter:
    """Reports in a thread of its own: a writer that hangs must not block the supervisor's loop, which has to replace it."""

    def __init__(self, run_dir: Path, snapshot: Callable[[], SiteSnapshot | None]) -> None:
        self._client, self._snapshot = SiteClient(run_dir, patience_s=0.0), snapshot
        self._leaving, self._changed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._report, name="status", daemon=True)

    def __enter__(self) -> StatusReporter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._changed.set()
        self._thread.join(2.0)
        self._client.close()

    def changed(self) -> None:
        """A child was replaced or has changed its state: report before the second is over."""
        self._changed.set()

    def _report(self) -> None:
        while not self._leaving.wait(_MIN_INTERVAL_S):
            self._changed.clear()
            with contextlib.suppress(RollcallError):
                if (snapshot := self._snapshot()) is not None:
                    self._client.ask(PutStatus(snapshot))
            self._changed.wait(_EVERY_S)
