"""An HTTP server for tests whose answers are given: bodies that end, and bodies that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.serving import Serving


@dataclass(frozen=True)
class Page:
    """An answer. `body`: its parts, made anew for each request; they may go on for ever."""

    content_type: str
    body: Callable[[], Iterable[bytes]]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpPages(Serving):
    """Serves `pages` by their paths. `asked`: the paths that were requested."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        server = _Server(("127.0.0.1", 0), _Handler)
        super().__init__(server)
        server.owner = self
        self.pages = dict(pages)
        self.asked: list[str] = []

    def url(self, path: str = "/live") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class _Server(ThreadingHTTPServer):
    owner: HttpPages
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        owner = self.server.owner
        owner.asked.append(self.path)
        page = owner.pages.get(self.path)
        if page is None:
            self.send_error(404)
            return
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for part in page.body():
                if owner.stopping.is_set():
                    return
                self.wfile.write(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
