"""Programs that open the stream of sightings and read nothing of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from shared.records import Role
from tests.support.web_site import WebSite

# So many sightings fill what lies between the site and such a program.
FILLING = 3000
_BUFFER_BYTES = 4096
_CONNECT_S = 10.0


@contextmanager
def stalled_readers(web: WebSite, count: int) -> Iterator[None]:
    """So many, each with the beginning of its answer."""
    port, token = int(web.address.rpartition(":")[2]), web.token(Role.VIEWER)
    asked = f"GET /api/v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            opened.append(one)
            one.settimeout(_CONNECT_S)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            one.connect(("127.0.0.1", port))
            one.sendall(asked)
            assert one.recv(12) == b"HTTP/1.1 200"
        yield
    finally:
        for one in opened:
            one.close()
