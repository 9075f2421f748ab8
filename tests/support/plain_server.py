"""A server that knows the plain wire only, as the original program's was: lists, no versions. And servers that answer wrongly."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.serving import Serving

_LIMIT_BYTES = 100_000  # of stock Express servers


class PlainServer(Serving):
    """`address`/api/face/… `keeps`: whether its list has what it was sent. `list_form`: makes the answer of its list. `answer`: if set, answers
    every request instead: it writes to the handler. `limit`: bytes of a body that it takes. `seen`: method, path and headers of each
    request; `posted`: the items of each POST that it took."""

    def __init__(self, *, keeps: bool = True, certificate: Path | None = None) -> None:
        server = _Server(("127.0.0.1", 0), PlainHandler)
        super().__init__(server)
        server.owner = self
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self.address = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"
        self.keeps, self.limit = keeps, _LIMIT_BYTES
        self.items: dict[str, dict[str, Any]] = {}
        self.list_form: Callable[[list[dict[str, Any]]], object] = lambda items: {
            "success": True, "embeddings": items, "message": "ok",
        }  # fmt: skip  # one object
        self.answer: Callable[[PlainHandler], object] | None = None
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.posted: list[list[dict[str, Any]]] = []

    def keep(self, item: dict[str, Any]) -> None:
        """Put one item into the list."""
        self.items[f"{item['person_name']}\0{item.get('image_path') or json.dumps(item['embedding'])}"] = item


class _Server(ThreadingHTTPServer):
    owner: PlainServer
    daemon_threads = True


class PlainHandler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._is_answered():
            return
        owner = self.server.owner
        items = list(owner.items.values()) if owner.keeps else []
        self.say(200, owner.list_form(items))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._is_answered():
            return
        owner = self.server.owner
        if len(body) > owner.limit:
            self.say(413, {"success": False, "message": "request entity too large"})
            return
        items = json.loads(body)["embeddings"]
        owner.posted.append(items)
        if owner.keeps:
            for item in items:
                owner.keep(item)
        self.say(200, {"success": True, "message": "stored", "count": len(items)})

    def _is_answered(self) -> bool:
        owner = self.server.owner
        owner.seen.append((self.command, self.path, dict(self.headers)))
        if owner.answer is None:
            return False
        owner.answer(self)
        return True

    def say(self, status: int, document: object, **headers: str) -> None:
        """Answer with a JSON document."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
