"""Programs that open the stream of sightings and read nothing of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shared.ipc.client import SiteClient
from shared.ipc.requests.sightings import Record
from shared.records import Role
from tests.support.stores import event
from tests.support.web_site import WebSite

# So many sightings, each so large, are more than the system holds for a connection (net.ipv4.tcp_wmem, 4 MiB).
FILLING = 2000
_FILLER = "x" * 4000
_BULK = 100
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


def fill(web: WebSite, tracks: Sequence[int]) -> None:
    """Have a sighting of each of these tracks stored, FILLING of them: nothing more fits between the site and a program that does not read."""
    client = SiteClient(web.site.settings.run_dir)
    for first in range(0, len(tracks), _BULK):
        several = tracks[first : first + _BULK]
        client.ask(Record([event(f"full-{one}", kind="unknown", track=one, filler=_FILLER) for one in several]))
    client.close()
