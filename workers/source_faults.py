"""Why a video source gives nothing, in words to act on and without its password; OpenCV itself does not say."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from shared.settings import is_file_source, public_source

_CONNECT_TIMEOUT_S = 2.0
_PORTS = {"http": 80, "https": 443, "rtsps": 322, "rtmp": 1935}


def why_not_open(source: str | int) -> str:
    """Why `source` could not be opened; takes at most a connection's time (2 s) and a name lookup's."""
    shown = public_source(source)
    if is_file_source(source):
        return f"{shown}: {_why_no_file(Path(str(source)))}"
    if isinstance(source, int) or source.startswith("/dev/video"):
        device = Path(shown)
        return f"{shown}: {'gives no video, or is in use' if os.access(device, os.R_OK) else _why_no_file(device)}"
    return f"{shown}: {_why_no_stream(source)}"


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return "is a folder, not a video"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would block here
    except OSError as error:
        return (error.strerror or "can't be read").lower()
    os.close(descriptor)
    return "is not a video that OpenCV can read"


def _why_no_stream(source: str) -> str:
    """As far as a TCP connection to its host tells."""
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 554)
    except ValueError:
        return "is not a valid address"
    if not host:
        return "is not a valid address"
    try:
        socket.create_connection((host, port), _CONNECT_TIMEOUT_S).close()
    except TimeoutError:
        return f"no answer from port {port}"
    except OSError as error:
        return f"port {port}: {(error.strerror or 'unreachable').lower()}"
    return "the host answers but gives no video: wrong path, user or password, or a stream that can't be decoded"
