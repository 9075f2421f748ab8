"""Readers of the stream of sightings, as many as you like in one process that costs little: `python -m tests.benchmark.web_readers PORT COUNT`.

The token comes on standard input, which stays open: its end is the end. It prints `ready` once every reader has the head of its answer, then for
each sighting that all readers have read `{"track": n, "read": [s, ...]}`, the times of the machine's monotonic clock. One thread waits for
all of them.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator

_CONNECT_S = 30.0
_CHUNK_BYTES = 1 << 16
_MARK = b'"track":'


class Pieces:
    """The bytes of one answer, cut into the pieces of the stream: kind and data. The head of the answer is the first piece, of no kind."""

    def __init__(self) -> None:
        self._held = b""
        self._in_head = True

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """The pieces that are whole now."""
        held = self._held + data
        while True:
            end = held.find(b"\r\n\r\n" if self._in_head else b"\n\n")
            if end < 0:
                break
            piece, held = held[:end], held[end + (4 if self._in_head else 2) :]
            if self._in_head:
                self._in_head = False
                yield "", piece
                continue
            fields = dict(line.split(b": ", 1) for line in piece.split(b"\n") if b": " in line)
            yield fields.get(b"event", b"message").decode(), fields.get(b"data", b"")
        self._held = held


def track_of(data: bytes) -> int:
    """The track in the document of a sighting, found without reading the rest of it."""
    begin = data.index(_MARK) + len(_MARK)
    end = begin
    while data[end : end + 1].isdigit():
        end += 1
    return int(data[begin:end])


def request_of(port: int, token: str) -> bytes:
    """HTTP/1.0: the answer is the stream as it is, without chunks."""
    return (
        f"GET /api/v1/events/stream HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


def _follow(port: int, count: int, token: str) -> None:
    selector = selectors.DefaultSelector()
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), _CONNECT_S)
        connection.sendall(request_of(port, token))
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, Pieces())
    selector.register(sys.stdin, selectors.EVENT_READ)
    heads, read = 0, dict[int, list[float]]()
    while True:
        for key, _ in selector.select():
            if not isinstance(key.data, Pieces):
                return
            assert isinstance(key.fileobj, socket.socket)
            with contextlib.suppress(BlockingIOError):
                data = key.fileobj.recv(_CHUNK_BYTES)
                now = time.monotonic()
                if not data:
                    raise SystemExit("the site ended a stream")
                for kind, content in key.data.feed(data):
                    if not kind:
                        if b" 200 " not in content.split(b"\r\n", 1)[0]:
                            raise SystemExit(content.decode(errors="replace"))
                        heads += 1
                        if heads == count:
                            print("ready", flush=True)
                    elif kind == "unknown":
                        times = read.setdefault(track_of(content), [])
                        times.append(now)
                        if len(times) == count:
                            print(json.dumps({"track": track_of(content), "read": times}), flush=True)
                            del read[track_of(content)]


if __name__ == "__main__":
    _follow(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.readline().strip())
