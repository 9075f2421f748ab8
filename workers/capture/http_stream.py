"""A camera's HTTP address as a file that FFmpeg reads. FFmpeg itself never opens an HTTP connection.

So a camera can't send this machine to other hosts: a redirect, a playlist or a key that names another host is refused. The
camera proves its identity as tls.py requires it. A camera that sends without end, but no picture, is left after the
time limit, or after `_MAX_BYTES`.
"""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

from shared.settings.sources import Address, Source
from workers.capture.http_camera import HttpCamera, is_same_host

_MAX_BYTES = 64 << 20  # between two pictures; the largest keyframe seen from a camera has 4 MB


class HttpStream:
    """Opens a camera's address, and those of the same host that its playlist names."""

    def __init__(self, source: Source, address: Address, timeout_s: float) -> None:
        self._source, self._address, self._timeout_s = source, address, timeout_s
        self._until = 0.0
        self._left = 0
        self.content_type = ""
        self.extend()

    def extend(self) -> None:
        """The next picture may take the whole time limit again, and as many bytes."""
        self._until, self._left = time.monotonic() + self._timeout_s, _MAX_BYTES

    def open(self) -> HttpBody:
        """Request the address. Raises OSError, HTTPException, or ValueError in words if the camera gives nothing."""
        return self._open(self._address)

    def open_named(self, url: str, flags: int, options: dict[str, str]) -> HttpBody:  # noqa: ARG002  # PyAV's signature
        """Request an address that a playlist names. Raises PermissionError if it is not on the same host."""
        parts = urlsplit(url)
        if not is_same_host(self._address, parts):
            raise PermissionError("the playlist names another host, or a protocol that is not the camera's")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        own = self._address
        return self._open(Address(own.scheme, own.user, own.password, own.host, own.port, path))

    @property
    def name(self) -> str:
        """The address without its login, for FFmpeg, which completes the addresses in a playlist with it."""
        own = self._address
        host = f"[{own.host}]" if ":" in own.host else own.host
        return f"{own.scheme}://{host}{f':{own.port}' if own.port else ''}{own.path.partition('#')[0]}"

    def _open(self, address: Address) -> HttpBody:
        camera = HttpCamera(self._source, address)
        try:
            response = camera.open()
        except BaseException:
            camera.close()
            raise
        self.content_type = self.content_type or response.headers.get("content-type", "").lower()
        return HttpBody(self, camera, response, self.name)

    def take(self, wanted: int) -> int:
        """How many bytes may be read now. Raises TimeoutError or ValueError when no picture came for too long."""
        if time.monotonic() > self._until:
            raise TimeoutError("no picture within the time limit")
        if self._left <= 0:
            raise ValueError(f"no picture in {_MAX_BYTES >> 20} MiB")
        return min(wanted, self._left)

    def spend(self, count: int) -> None:
        self._left -= count


class HttpBody:
    """An answer's body, with the methods of a file that PyAV uses. It can't be rewound."""

    def __init__(self, stream: HttpStream, camera: HttpCamera, response: http.client.HTTPResponse, name: str) -> None:
        self._stream, self._camera, self._response = stream, camera, response
        self.name = name

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end. Raises OSError or ValueError."""
        try:
            data = self._response.read1(self._stream.take(size))
        except http.client.HTTPException as error:
            raise ConnectionError("the camera's answer broke off") from error
        self._stream.spend(len(data))
        return data

    def close(self) -> None:
        self._camera.close()
