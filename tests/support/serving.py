"""A server for a test. It listens from the beginning, and serves in its own thread inside `with`."""

from __future__ import annotations

import socketserver
import threading
from types import TracebackType
from typing import Self


class Serving:
    """`server` in a thread. Handlers that go on for long end once `stopping` is set."""

    def __init__(self, server: socketserver.TCPServer) -> None:
        self.stopping = threading.Event()
        self.port: int = server.server_address[1]
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
